"""The numbers of the dense tasks' protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Norm = Literal["batch", "frozen", "group"]
DilatedConvs = Literal["all", "first"]
ADDED = "added"  # in the metadata of a field that came later: its default does not enter the digest of the numbers


@dataclass(frozen=True)
class Maps:
    """Where the maps of a run look, against masks: `lewel.evaluate.maps.looking`.

    scale: images are so many times as large as in the run's training, where --image-size does not say.
    resolution: pixels a side, at least, at which maps meet masks.
    least: objects of a class with less than this share of the image are left out.
    overlap: of two views' crops, at least this share of the smaller one must be in both; points: a side, to compare at.
    resamples: of the images, for 95 % intervals.
    scenes: how many are made for --data scenes.
    """

    scale: int = 2
    resolution: int = 64
    least: float = 0.01
    overlap: float = 0.1
    points: int = 16
    resamples: int = 2000
    scenes: int = 200


@dataclass(frozen=True, kw_only=True)
class Iterations:
    """What every task that trains on dense truth has: an encoder and a head, trained together, step by step.

    milestones: iterations at which the rate falls to a tenth; none: it goes down to lr_last as (1 - done) ** power.
    warmup: iterations in which the rate rises linearly from warmup_factor of itself.
    decay_norms: whether weight decay takes the weights and biases of normalisation layers too.
    norm: "batch": batch norm everywhere, over the whole batch (SyncBN); for batches that are too small for that,
    "frozen": the encoder's keeps the statistics and weights that it came with, and new layers have group norm;
    "group": group norm everywhere, with the encoder's own weights.
    precise_bn: batches over which batch norm's statistics are taken anew before each evaluation; 0: they stay.
    evaluations: so many, evenly over the training; the last is the result.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float
    batch_size: int
    iterations: int
    weight_decay: float
    momentum: float = 0.9
    milestones: tuple[int, ...] = ()
    power: float = 0.9
    lr_last: float = 0.0
    warmup: int = 0
    warmup_factor: float = 0.001
    decay_norms: bool = True
    norm: Norm = "batch"
    precise_bn: int = 0
    evaluations: int = 4


@dataclass(frozen=True, kw_only=True)
class Detection(Iterations):
    """Faster R-CNN, and Mask R-CNN where there are masks. The protocol's image size is that of tests: the shorter side.

    data: "voc" in VOC's layout, with its metrics too; "coco" in COCO's.
    model: "c4": RPN on res4, res5 in the head of regions, with one norm more where `extra_norm`; "fpn": levels 2 to 6.
    shortest: of training images, drawn from these shares of the image size; longest: side, as a share of it.
    regions: of a training image that classes, boxes and masks are learned from, a quarter of them objects at most;
    proposals: of an image that are looked at in tests. Most of the time goes into both.
    """

    data: Literal["voc", "coco"]
    model: Literal["c4", "fpn"]
    masks: bool
    extra_norm: bool = False
    shortest: tuple[float, ...] = ()
    longest: float = 1333 / 800
    regions: int = 512
    proposals: int = 1000


@dataclass(frozen=True, kw_only=True)
class Segmentation(Iterations):
    """Fully convolutional network on a dilated ResNet. The protocol's image size is the side of training crops.

    model: "fcn8": output stride 8, res5 joined to the head's output, auxiliary head on res4 (mmsegmentation's FCN-D8);
    "fcn16": output stride 16, dilated head, no auxiliary one (MoCo).
    frame: longer side and shorter side that images fit into, as multiples of the image size; scales: drawn, times it.
    most_of_one: share of a crop that one class may have, else another is drawn, ten times at most.
    photometric: brightness, contrast, saturation and hue are drawn too.
    align_corners: how the head's output is made larger.
    dilated_convs: of a stage whose stride is undone, "all" 3 x 3 convolutions are dilated, so that the maps keep their
    values; "first": that of each block, as mmsegmentation does. Blocks of ResNet-50 have one, of ResNet-18 two.
    """

    model: Literal["fcn8", "fcn16"]
    frame: tuple[float, float]
    scales: tuple[float, float] = (0.5, 2.0)
    most_of_one: float = 0.75
    photometric: bool = True
    align_corners: bool = False
    dilated_convs: DilatedConvs = field(default="all", metadata={ADDED: True})


@dataclass(frozen=True, kw_only=True)
class Landmarks(Iterations):
    """Points of a face by heat maps, whose mean is the point (integral regression). Image size: side of the crop.

    margin: the crop's side, as a multiple of the longer side of the points' box.
    rotation: degrees, the deviation of a normal draw; scale, shift: likewise, as shares of the side; flip: how often.
    gray, gamma, blur, occlusion: how often each is done to a face.
    threshold: inter-ocular error above which a face counts as failed, and up to which the area under the curve goes.
    """

    margin: float = 1.25
    rotation: float = 18.0
    scale: float = 0.1
    shift: float = 0.05
    flip: float = 0.5
    gray: float = 0.2
    gamma: float = 0.2
    blur: float = 0.3
    occlusion: float = 0.4
    threshold: float = 0.05
