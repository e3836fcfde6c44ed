"""A protocol by its name, with the numbers that flags change; its own name then says which."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from lewel.errors import UserError, nearest
from lewel.evaluate.dense.tasks import Detection, DilatedConvs, Iterations, Landmarks, Norm, Segmentation
from lewel.evaluate.protocols import PROTOCOLS, Protocol, Task
from lewel.evaluate.tasks import Finetune, Linear

LEAST_REGIONS = 4
LEAST_PER_RETAKEN = 10  # iterations, at least, for each batch that batch norm's statistics are taken over


@dataclass(frozen=True)
class Changes:
    """Numbers that flags may change; None leaves the protocol's own."""

    image_size: int | None = None  # pixels; by default the protocol's, or that of the weights' training
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    epochs: int | None = None  # milestones and warm-up follow
    batch_size: int | None = None  # the rates follow, unless they are given, and so do --iterations
    iterations: int | None = None  # of dense tasks; milestones and warm-up follow
    lr: float | None = None  # of the head; of dense tasks that of everything
    lr_encoder: float | None = None
    weight_decay: float | None = None
    k: int | None = None
    temperature: float | None = None
    fraction: float | None = None  # of the labels, for `semi`
    regions: int | None = None  # of a training image, for detection; 512 are costly, proposals of tests follow
    evaluations: int | None = None  # of dense tasks, evenly over the training; the last is the result
    norm: Norm | None = None  # of dense tasks; frozen or group, for batches that are too small for batch norm
    dilated_convs: DilatedConvs | None = None  # of segmentation; first of each block, as mmsegmentation on ResNet-18


def get_protocol(name: str, changes: Changes = Changes()) -> Protocol:
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
    """The protocol at the size that is asked for, else at that of the weights' training, else at its own.

    A dense task has its own, whatever the weights were trained at.
    """
    if isinstance(protocol.task, Iterations):
        of_the_weights = None
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
        if isinstance(value, str):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and field != "weight_decay"):
            least = "0 or more" if field == "weight_decay" else "more than 0"
            raise UserError(f"{flag} {value}: must be {least}{'' if math.isfinite(value) else ', and finite'}")
    if given.get("regions", LEAST_REGIONS) < LEAST_REGIONS:
        raise UserError(f"--regions {given['regions']}: must be {LEAST_REGIONS} or more, as a quarter are objects")
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

    The rates follow another batch in proportion, the iterations inversely, so that as many images are seen; they are
    named with it. The share of `semi` is always named.
    """
    task, own = protocol.task, dataclasses.asdict(protocol.task)
    other_batch = given.get("batch_size", own.get("batch_size")) != own.get("batch_size")
    named = {"fraction"} if protocol.base == "semi" else set[str]()
    if other_batch:
        rates = {"lr", "lr_encoder"} & own.keys()
        times = given["batch_size"] / own["batch_size"]
        given = {rate: own[rate] * times for rate in rates} | given
        named |= rates
        if isinstance(task, Iterations):
            given.setdefault("iterations", max(round(task.iterations / times), 1))
    fields = [field.name for field in dataclasses.fields(Changes)]
    given = {name: given[name] for name in fields if name in given and (given[name] != own[name] or name in named)}
    told = [f"{field}={value if isinstance(value, str) else f'{value:g}'}" for field, value in given.items()]
    if isinstance(task, Detection | Segmentation | Landmarks):
        return scaled(replace(task, **given), task), told
    if isinstance(task, Linear | Finetune) and (epochs := given.get("epochs")) is not None:
        given["milestones"] = tuple(each * epochs / task.epochs for each in task.milestones)
        if isinstance(task, Finetune):
            given["warmup_epochs"] = round(task.warmup_epochs * epochs / task.epochs)
    if isinstance(task, Finetune) and "lr" in given:
        given["lr_last"] = task.lr_last * given["lr"] / task.lr
    return replace(task, **given), told


Trained = TypeVar("Trained", bound=Iterations)


def scaled(task: Trained, published: Trained) -> Trained:
    """The task with the milestones and warm-up that its iterations want, and the last rate that its first one wants.

    Few iterations take batch norm's statistics over fewer batches, which would cost more than the training otherwise.
    """
    times = task.iterations / published.iterations
    if isinstance(task, Detection) and isinstance(published, Detection):
        task = replace(task, proposals=round(published.proposals * task.regions / published.regions))
    return replace(
        task,
        milestones=tuple(round(each * times) for each in published.milestones),
        warmup=round(published.warmup * times),
        lr_last=published.lr_last * (task.lr / published.lr),
        precise_bn=min(published.precise_bn, max(task.iterations // LEAST_PER_RETAKEN, 1)),
    )
