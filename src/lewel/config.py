"""What a run is, as frozen data: no torch, no files, no defaults that hide a choice.

A recipe (`lewel.recipes`) is a function that returns a `Recipe`. Its method is most often a `lewel.terms.Method`, the
equation of `docs/equation.md` as data; any frozen dataclass with a `build` will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from lewel.checked import AboveZero, Checked, WholeNumber

if TYPE_CHECKING:
    from torch import nn

ImageStats = tuple[float, float, float]

IMAGENET_MEAN: ImageStats = (0.485, 0.456, 0.406)
IMAGENET_STD: ImageStats = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Encoder(Checked):
    """A timm CNN without its pooling and classifier.

    name: any timm model whose `forward_features` returns a (b, c, h, w) map.
    stem: "imagenet" as timm builds it; "small" for images of 32-64 px: 3x3 convolution, stride 1, no max-pool.
    zero_init_last: the last batch norm weight of a residual block starts at 0, so that the block begins as its shortcut
        (Goyal et al. 2017; the original BYOL). The published LEWEL starts it at 1. Families without it ignore it.
    """

    name: str = "resnet50"
    stem: Literal["imagenet", "small"] = "imagenet"
    zero_init_last: bool = False


@dataclass(frozen=True)
class Direction(Checked):
    """One summand of the loss: view `view` through the online network predicts view `other` through the target.

    Views are numbered from 0.  weight: of the summand.
    """

    view: WholeNumber
    other: WholeNumber
    weight: AboveZero = 1.0


@runtime_checkable
class BuildsMethod(Protocol):
    """What `Recipe.method` must be: a frozen dataclass with a `build`.

    The module is called as `loss, out = module(*views)`; docs/extending.md says what else it may have.
    """

    @property
    def encoder(self) -> Encoder: ...
    def build(self, recipe: Recipe) -> nn.Module: ...


@dataclass(frozen=True)
class View(Checked):
    """The augmentation of one view: probabilities, and ranges of the strengths."""

    scale: tuple[float, float] = (0.2, 1.0)  # share of the image's area that the crop takes
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the crop
    flip: float = 0.5
    vertical_flip: float = 0.0
    rotation: float = 0.0  # degrees, uniform in +-rotation, before the crop
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue
    jitter_probability: float = 0.8
    gray: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels of the output
    solarize: float = 0.0  # probability; threshold 128


@dataclass(frozen=True)
class Data(Checked):
    image_size: int
    views: tuple[View, ...]
    mean: ImageStats = IMAGENET_MEAN
    std: ImageStats = IMAGENET_STD

    @property
    def largest_sigma(self) -> float:
        """Of the blur of all views, in pixels of the output."""
        return max(view.blur_sigma[1] for view in self.views)


@dataclass(frozen=True)
class Optimizer(Checked):
    """lr is the peak for `batch_size` images a step over all processes.

    schedule: "cosine" to 0. warmup_epochs: linear, per step. decay_per: "epoch" as published, or "step".
    exclude: what takes neither weight decay nor LARS scaling: "bias_and_bn" (the paper), "bias_and_backbone_bn" (the
    published LEWEL_B script: the heads' BN weights are scaled and decayed), "nothing".
    """

    kind: Literal["sgd", "lars"]
    lr: float
    batch_size: int
    weight_decay: float
    momentum: float = 0.9
    trust_coefficient: float = 0.001
    exclude: Literal["bias_and_bn", "bias_and_backbone_bn", "nothing"] = "bias_and_bn"
    warmup_epochs: int = 0
    decay_per: Literal["epoch", "step"] = "epoch"
    constant: tuple[str, ...] = ()  # parameters whose names begin so keep the first rate (SimSiam's predictor)


@dataclass(frozen=True)
class Recipe(Checked):
    """All that decides a run's numbers, apart from the images, the seed and the precision."""

    name: str
    method: BuildsMethod
    data: Data
    optimizer: Optimizer
    epochs: int
    queue_share: float | None = None  # folder recipes: the queue follows the number of images
    note: str = field(default="", compare=False)  # one line for `lewel recipes`


@dataclass(frozen=True)
class Options:
    """How a run is carried out: what may differ between two runs of one recipe. Each is a flag of `lewel pretrain`."""

    data: str  # folder of images (with train/ and val/ or without), list file, index, shards or their URL, CIFAR-10
    run: str  # directory of the run; the same command on the same directory goes on
    seed: int = 0  # of weights, order and augmentation
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 where the hardware has it
    # what makes the views: pillow: the workers; tensor: the workers crop, the device colours; resident: the device, on
    # which the images lie, all of one size; auto: resident on a GPU where they fit into 2 GB, else pillow
    executor: Literal["auto", "pillow", "tensor", "resident"] = "pillow"
    compile: bool = False  # the encoders by torch.compile: for GPUs; the first step takes a minute or more
    workers: int | None = None  # processes that decode and augment; by default from the number of cores
    accumulate: int = 1  # micro-batches a step: less memory, smaller BN groups and fewer in-batch negatives
    init: str = "random"  # weights to start from: random, RUN, FILE, timm:NAME or timm:NAME=FILE
    keep: int = 2  # checkpoints kept
    save_every: int | None = None  # steps between checkpoints; by default whole epochs of 100 steps, at most 1000
    log_every: int = 20  # steps between records
    # loggers beside metrics.jsonl: tensorboard[:DIR], wandb[:PROJECT], mlflow[:URI] or FILE.py:NAME; may be repeated
    log: tuple[str, ...] = ()
    # measured of the encoder where there are labels and a val/ split: knn, linear-fast, or knn,linear-fast; by default
    # knn; none: nothing
    evaluate: str | None = None
    every: int = 1  # epochs between evaluations
    force: bool = False  # start although a step is estimated to need more memory than is free
    max_unreadable: float = 0.01  # share of the images; when more cannot be read, the run ends
    dry_run: bool = False  # check everything, decode a sample, time 20 steps, print the plan, write nothing
    extend: bool = False  # go on with another number of epochs
    change_processes: bool = False  # go on with another number of processes
    change_images: bool = False  # go on although the contents of images have changed
    check_images: Literal["sample", "all"] = "sample"  # images whose contents must be those of the run's beginning
    timeout: float = 600.0  # seconds that a process waits for the others, of several, before it gives up


@dataclass(frozen=True)
class Bench:
    """Which training steps `lewel bench` measures. Each is a flag of it."""

    recipe: str = "lewel_b_in1k_100ep"  # a name from `lewel recipes`, FILE.py:FUNCTION or a run directory
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the hardware has it
    threads: int | None = None  # that PyTorch may use; by default its own choice
    json: Path | None = None  # file for every figure


@dataclass(frozen=True)
class Timing(Bench):
    """And how it times them."""

    rounds: int = 5  # 3 or more; each times every contender twice
    steps: int | None = None  # of a unit of work; by default 1 on a CPU, 10 on a GPU


@dataclass(frozen=True)
class LinearEpoch:
    """Which linear evaluation `lewel bench linear` measures. Each is a flag of it."""

    encoder: str = "resnet18"  # of timm's, untrained
    image_size: int = 64  # pixels
    classes: int = 100  # the labels are made up
    data: str | None = None  # folder of images; by default JPEGs of 500 x 375 pixels that it makes
    images: int = 2560  # of an epoch, evenly over the folder
    rounds: int = 3  # 3 or more; each times every contender twice
    precision: Literal["auto", "fp32", "bf16"] = "fp32"  # of the encoder; the classifiers are in fp32
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: int | None = None  # processes that decode; by default as in `lewel evaluate`
    threads: int | None = None  # that PyTorch may use; by default its own choice
    json: Path | None = None  # file for every figure


@dataclass(frozen=True)
class Evaluation:
    """What `lewel evaluate` measures, on what, and how it is carried out. Each is a flag of it."""

    weights: tuple[str, ...] = ()  # RUN, FILE, random:RUN|ENCODER, timm:NAME, timm:NAME=FILE; several make one table
    data: str = ""  # class folders with train/ and val/, CSV, CelebA, RAF-DB, AffectNet, CIFAR-10, index, shards
    out: str = ""  # directory for results.json, tables, pictures; the same command goes on where it stopped
    split: Literal["given", "auto"] = "given"  # auto: a seeded split of data that is not divided
    val_share: float = 0.2  # of --split auto
    group_by: str | None = None  # column of the CSV: images of one value stay on one side of --split auto
    subset: Path | None = None  # list of file names, for semi-1 and semi-10; by default drawn, class by class
    lr_search: bool = False  # of dense tasks: try some rates on a part of train that is held out, and take the best
    seed: int = 0  # of heads, order, augmentation, subset, split and random weights
    seeds: int = 1  # so many, from --seed on: mean and spread
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: int | None = None  # processes that decode; by default from the number of cores


@dataclass(frozen=True)
class Extraction:
    """Whose features of which images, and how they are had. Each is a flag of `lewel embed` and `lewel neighbours`."""

    weights: str  # RUN, FILE, random:RUN|ENCODER, timm:NAME, timm:NAME=FILE
    data: str  # folder of images, list file, index, shards or their URL, CIFAR-10
    image_size: int | None = None  # side of the central crop; by default as the weights say
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"  # auto: bf16 where the hardware has it, faster
    workers: int | None = None  # processes that decode; by default from the number of cores
