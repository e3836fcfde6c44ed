"""Evaluation protocols by name: every number that decides a result, where it is from, and a digest of them all.

    name                    what                                                                        source
    knn-k20-t0.07           vote of the 20 nearest training images                                      Wu et al. 2018
    knn-k200-t0.07          of the 200 nearest                                                          Wu et al. 2018
    linear-fast             softmax regression on cached features, to the end                           ours
    linear-byol             frozen encoder, SGD 0.4, 50 epochs, steps                                   LEWEL_B, EMAN
    linear-moco             frozen encoder, LARS 3.2, batch 4096, 90 epochs, cosine                     LEWEL_M
    linear-simsiam          the same at 1.6                                                             SimSiam
    linear-moco-sgd         frozen encoder, SGD 30, 100 epochs, steps                                   MoCo
    semi-1, semi-10         fine-tuning on 1 and 10 % of the labels                                     LEWEL, EMAN
    semi                    on the share that --fraction says, with the rates of semi-10                ours
    finetune                on all labels, with the rates of semi-10                                    ours
    faces-expression        fine-tuning with AdamW, classes drawn equally often                         FRA, AffectNet-7
    faces-expression-rafdb  the same, images drawn in a plain order                                     FRA, RAF-DB
    faces-attributes        fine-tuning of a head of three layers, many labels an image                 FRA, CelebA
    maps                    where a run's maps look, against masks in VOC's form, and on which views agree   ours

Who changes a number changes the name: `linear-byol[epochs=5]` cannot stand in a table as linear-byol.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from lewel.errors import UserError, nearest
from lewel.evaluate.dense.tasks import Maps


@dataclass(frozen=True)
class Knn:
    """Votes of the k nearest, each of weight exp(cosine / temperature)."""

    k: int = 20
    temperature: float = 0.07


@dataclass(frozen=True)
class LinearFast:
    """Softmax regression by L-BFGS; the decay is chosen on a part of the training images."""


@dataclass(frozen=True)
class Linear:
    """Linear classifiers on a frozen encoder, the protocol's and a grid of others, all in one pass over the data.

    optimizer: "lars" adapts every tensor, with the rate outside the momentum buffer, as SimSiam's LARC does.
    milestones: epochs, or fractions of them, at which the rate falls to a tenth; none: a cosine to 0, epoch by epoch.
    rates, decays: the grid: factors of `lr`, and weight decays.
    """

    optimizer: Literal["sgd", "lars"]
    lr: float
    batch_size: int
    epochs: int
    milestones: tuple[float, ...] = ()
    weight_decay: float = 0.0
    momentum: float = 0.9
    evaluate_every: int = 5  # epochs; the best evaluation is the result, as published
    rates: tuple[float, ...] = (1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16, 64)
    decays: tuple[float, ...] = (0.0, 1e-6, 1e-5, 1e-4)


@dataclass(frozen=True)
class Finetune:
    """A classifier and its encoder, trained together, batch norm in train mode.

    fraction: share of the labels.
    lr, lr_encoder: of the head and of the encoder.
    milestones: as for `Linear`; warmup_epochs: linear, step by step; then, without milestones, a cosine, step by step,
    down to lr_last.
    head: "linear", or "mlp": c-512-256-n, batch norm, dropout 0.2 and ReLU after each hidden layer (attributes).
    head_init: "torch", nn.Linear's own; "normal", N(0, 0.01) and no bias.
    bn_images: batch norm's statistics are over so many images, as on one of the published run's GPUs.
    views: "crop", random resized crops and flips; "face", the whole image, moved, turned, coloured and erased.
    balanced: classes are drawn equally often.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    lr_encoder: float
    batch_size: int
    epochs: int
    weight_decay: float
    milestones: tuple[float, ...] = ()
    warmup_epochs: int = 0
    lr_last: float = 0.0
    momentum: float = 0.9
    evaluate_every: int = 5
    fraction: float = 1.0
    head: Literal["linear", "mlp"] = "linear"
    head_init: Literal["torch", "normal"] = "torch"
    bn_images: int | None = None
    views: Literal["crop", "face"] = "crop"
    erase: bool = False
    balanced: bool = False
    multilabel: bool = False


Task = Knn | LinearFast | Linear | Finetune | Maps


@dataclass(frozen=True)
class Protocol:
    """name: with what was changed in brackets, as tables show it.  base: as published.
    image_size: None until the weights are known.  precision: "mixed" is bf16 where the hardware has it, else fp32.
    """

    base: str
    task: Task
    note: str
    source: str
    image_size: int | None = None
    precision: Literal["fp32", "mixed", "bf16", "fp16"] = "fp32"
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.base}[{','.join(self.changes)}]" if self.changes else self.base

    def facts(self) -> dict[str, Any]:
        """For results.json: every number, and their digest."""
        numbers = {"kind": type(self.task).__name__.lower(), **dataclasses.asdict(self.task)}
        numbers |= {"image_size": self.image_size, "precision": self.precision}
        text = json.dumps({"base": self.base, **numbers}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {"name": self.name, "base": self.base, "source": self.source, **numbers, "digest": digest}


@dataclass(frozen=True)
class Changes:
    """Numbers that flags may change; None leaves the protocol's own."""

    image_size: int | None = None  # pixels; by default the protocol's, or that of the weights' training
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    epochs: int | None = None  # milestones and warm-up follow
    batch_size: int | None = None  # the rates follow, unless they are given
    lr: float | None = None  # of the head
    lr_encoder: float | None = None
    weight_decay: float | None = None
    k: int | None = None
    temperature: float | None = None
    fraction: float | None = None  # of the labels, for `semi`


_SEMI = Finetune("sgd", 0.1, 0.01, 256, 50, 1e-4, milestones=(30, 40), bn_images=64)
_FACES = Finetune(
    "adamw", 2e-4, 2e-4, 256, 100, 0.05, warmup_epochs=5, lr_last=1e-6, head_init="normal", views="face", erase=True
)
_IN1K, _FRA = 224, 224

PROTOCOLS: dict[str, Protocol] = {
    protocol.base: protocol
    for protocol in (
        Protocol(
            "knn-k20-t0.07", Knn(20), "vote of the 20 nearest training images", "Wu et al. 2018, eq. 9; k as DINO"
        ),
        Protocol("knn-k200-t0.07", Knn(200), "vote of the 200 nearest training images", "Wu et al. 2018, section 4.1"),
        Protocol("linear-fast", LinearFast(), "softmax regression on cached features: a number in a minute", "ours"),
        Protocol(
            "linear-byol",
            Linear("sgd", 0.4, 256, 50, milestones=(30, 40)),
            "linear classifier, frozen encoder: SGD 0.4, 50 epochs",
            "LEWEL table 1 (LEWEL_B), section 4.1; EMAN",
            _IN1K,
        ),
        Protocol(
            "linear-moco",
            Linear("lars", 3.2, 4096, 90),
            "linear classifier, frozen encoder: LARS 3.2, batch 4096, 90 epochs",
            "LEWEL table 1 (LEWEL_M), section 4.1",
            _IN1K,
        ),
        Protocol(
            "linear-simsiam",
            Linear("lars", 1.6, 4096, 90),
            "linear-moco at the rate of SimSiam's own runs, 1.6",
            "SimSiam, appendix A",
            _IN1K,
        ),
        Protocol(
            "linear-moco-sgd",
            Linear("sgd", 30.0, 256, 100, milestones=(60, 80)),
            "linear classifier, frozen encoder: SGD 30, 100 epochs",
            "MoCo, section 4.1",
            _IN1K,
        ),
        Protocol(
            "semi-1",
            replace(_SEMI, lr=1.0, lr_encoder=1e-4, fraction=0.01),
            "fine-tuning on 1 % of the labels",
            "LEWEL table 2, section 4.2; EMAN",
            _IN1K,
        ),
        Protocol(
            "semi-10",
            replace(_SEMI, fraction=0.1),
            "fine-tuning on 10 % of the labels",
            "LEWEL table 2, section 4.2; EMAN",
            _IN1K,
        ),
        Protocol(
            "semi", _SEMI, "fine-tuning on the share of the labels that --fraction says", "ours, after semi-10", _IN1K
        ),
        Protocol("finetune", _SEMI, "fine-tuning on all labels", "ours, after semi-10", _IN1K),
        Protocol(
            "faces-expression",
            replace(_FACES, balanced=True),
            "expressions: fine-tuning with AdamW, classes drawn equally often",
            "FRA's settings for AffectNet-7",
            _FRA,
            "mixed",
        ),
        Protocol(
            "faces-expression-rafdb",
            _FACES,
            "expressions: the same, images in a plain order",
            "FRA's settings for RAF-DB",
            _FRA,
            "mixed",
        ),
        Protocol(
            "faces-attributes",
            replace(_FACES, head="mlp", erase=False, multilabel=True, epochs=30),
            "attributes: fine-tuning of a head of three layers; mean accuracy",
            "FRA's head and views for CelebA; rate and epochs, which it does not publish, ours",
            _FRA,
            "mixed",
        ),
        Protocol(
            "maps",
            Maps(),
            "where the maps of a run look, against masks in VOC's form; --data scenes makes some",
            "ours, after Zhang et al. 2016",
        ),
    )
}


def get(name: str, changes: Changes = Changes()) -> Protocol:
    """The protocol with these numbers. Raises UserError: no such protocol, or a number that it does not have."""
    if name not in PROTOCOLS:
        raise UserError(f"there is no task {name!r}{_meant(name)} `lewel evaluate --list` lists all")
    protocol = PROTOCOLS[name]
    given = {field: value for field, value in dataclasses.asdict(changes).items() if value is not None}
    _check(protocol, given)
    task, told = _changed(protocol, {k: v for k, v in given.items() if k not in ("image_size", "precision")})
    precision = given.get("precision", protocol.precision)
    if precision != protocol.precision:
        told.append(f"precision={precision}")
    return replace(protocol, task=task, precision=precision, changes=tuple(told))


def _meant(name: str) -> str:
    """What is proposed for an unknown name: the names that begin so, else the nearest, else nothing."""
    *others, last = [each for each in PROTOCOLS if name and each.startswith(name)] or [""]
    if others:
        return f"; did you mean {', '.join(others)} or {last}?"
    return f"; did you mean {last}?" if last else nearest(name, PROTOCOLS) or ";"


def at_size(protocol: Protocol, given: int | None, of_the_weights: int | None) -> Protocol:
    """The protocol at the size that is asked for, else at that of the weights' training, else at its own."""
    size = given or of_the_weights or protocol.image_size or 224
    published = protocol.image_size or of_the_weights or 224
    changes = (*protocol.changes, f"image_size={size}") if size != published else protocol.changes
    return replace(protocol, image_size=size, changes=changes)


def _check(protocol: Protocol, given: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(protocol.task)} | {"image_size", "precision"}
    for field, value in given.items():
        flag = f"--{field.replace('_', '-')}"
        if field not in known:
            raise UserError(f"{flag} {value}: {protocol.base} has no such number; leave it out")
        if field == "precision":
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and field != "weight_decay"):
            least = "0 or more" if field == "weight_decay" else "more than 0"
            raise UserError(f"{flag} {value}: must be {least}{'' if math.isfinite(value) else ', and finite'}")
    if isinstance(protocol.task, Finetune) and given.get("batch_size") == 1:
        raise UserError("--batch-size 1: batch norm in train mode needs 2 images or more")
    if protocol.base != "semi" and "fraction" in given:
        raise UserError(
            f"--fraction {given['fraction']:g}: {protocol.base} says its share itself; take `semi` for others"
        )
    if protocol.base == "semi" and "fraction" not in given:
        raise UserError("semi needs --fraction, the share of the labels: more than 0, at most 1, such as 0.05")
    if given.get("fraction", 1) > 1:
        raise UserError(f"--fraction {given['fraction']:g}: must be at most 1, all labels")


def _changed(protocol: Protocol, given: dict[str, Any]) -> tuple[Task, list[str]]:
    """The task with other numbers, those that follow from them included, and what was changed as text.

    The rates follow another batch in proportion, and are named with it. The share of `semi` is always named.
    """
    task, own = protocol.task, dataclasses.asdict(protocol.task)
    other_batch = given.get("batch_size", own.get("batch_size")) != own.get("batch_size")
    named = {"fraction"} if protocol.base == "semi" else set[str]()
    if other_batch:
        rates = {"lr", "lr_encoder"} & own.keys()
        given = {rate: own[rate] * given["batch_size"] / own["batch_size"] for rate in rates} | given
        named |= rates
    fields = [field.name for field in dataclasses.fields(Changes)]
    given = {name: given[name] for name in fields if name in given and (given[name] != own[name] or name in named)}
    told = [f"{field}={value:g}" for field, value in given.items()]
    if isinstance(task, Linear | Finetune) and (epochs := given.get("epochs")) is not None:
        given["milestones"] = tuple(each * epochs / task.epochs for each in task.milestones)
        if isinstance(task, Finetune):
            given["warmup_epochs"] = round(task.warmup_epochs * epochs / task.epochs)
    if isinstance(task, Finetune) and "lr" in given:
        given["lr_last"] = task.lr_last * given["lr"] / task.lr
    return replace(task, **given), told
