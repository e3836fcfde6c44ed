"""The data of a dense task: train and val as they are divided, the same for every seed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from lewel.config import Evaluation
from lewel.console import Console
from lewel.data.decode import printable
from lewel.errors import UserError
from lewel.evaluate.dense.detection.coco_ap import tools
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.dense.truth import coco, face_lists, voc
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.dense.truth.masks import Segmented, open_segmentation
from lewel.evaluate.dense.truth.outlines import coco_masks
from lewel.evaluate.dense.truth.points import Landmarked, check_same_points, open_landmarks
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import Protocol as Numbers


@runtime_checkable
class Truth(Protocol):
    """A part of a data set: what `Annotations`, `Segmented` and `Landmarked` have in common."""

    def __len__(self) -> int: ...
    def facts(self) -> dict[str, Any]: ...


Part = TypeVar("Part", bound=Truth)


def open_objects(options: Evaluation, protocol: Numbers, console: Console) -> dict[int, Divided[Annotations]]:
    """By seed. Raises UserError for data that cannot be used, and for flags of data that are not divided."""
    task = protocol.task_as(Detection)
    _refuse(options, protocol)
    tools()  # the counting begins after hours: what it needs had better be there
    if task.masks:
        coco_masks()
    root = Path(options.data)
    with console.status("reading the objects"):
        if task.data == "coco":
            train, val = coco.open_objects(root, "train"), coco.open_objects(root, "val")
        else:
            train, val = (voc.open_objects(voc.detection_parts(root, part)) for part in ("train", "val"))
    for part in (train, val):
        if not part.counts.any():
            raise UserError(f"--data {printable(root)}: no objects in {part.split}; both parts need some")
        if task.masks and part.images.words is None:
            raise UserError(
                f"--data {printable(root)}: the objects of {part.split} have no segmentation, and {protocol.base} "
                "learns masks; add them, or give the boxes in VOC's layout to detect-voc-c4"
            )
    warn((*train.warnings(), *val.warnings()), console)
    return by_seed(options, train, val, classes=_same(options, train.classes, val.classes))


def open_masks(options: Evaluation, protocol: Numbers, console: Console) -> dict[int, Divided[Segmented]]:
    """By seed. Raises UserError as `open_objects`."""
    _refuse(options, protocol)
    root = Path(options.data)
    with console.status("reading the masks"):
        train, val = open_segmentation(root, "train"), open_segmentation(root, "val")
    warn((*train.warnings(), *val.warnings()), console)
    return by_seed(options, train, val, classes=_same(options, train.classes, val.classes))


def open_points(options: Evaluation, protocol: Numbers, console: Console) -> dict[int, Divided[Landmarked]]:
    """By seed. Raises UserError as `open_objects`."""
    _refuse(options, protocol)
    root = Path(options.data)
    with console.status("reading the points"):
        train, val = open_landmarks(root, "train"), open_landmarks(root, "val")
    check_same_points(train, val)
    if measured := face_lists.said(root):
        console.print(f"{printable(root)}: {measured}")
    warn((*train.warnings(), *val.warnings()), console)
    return by_seed(options, train, val, points=train.points.shape[1])


def by_seed(options: Evaluation, train: Part, val: Part, **facts: Any) -> dict[int, Divided[Part]]:
    """Both parts for each seed, with their facts and those given, of both."""
    facts = {
        "data": printable(options.data),
        "split": {"how": "given"},
        **facts,
        "train": train.facts(),
        "val": val.facts(),
    }
    return dict.fromkeys(range(options.seed, options.seed + options.seeds), Divided(train, val, facts))


def _same(options: Evaluation, classes: tuple[str, ...], of_val: tuple[str, ...]) -> int:
    """How many classes. Raises UserError where val has others than train."""
    if classes != of_val:
        raise UserError(
            f"--data {printable(options.data)}: train has {len(classes)} classes and val {len(of_val)}, or in another "
            "order; give both the same"
        )
    return len(classes)


def warn(sentences: Iterable[str], console: Console) -> None:
    """Of what is left out or changed."""
    for sentence in sentences:
        console.warn(sentence)


def _refuse(options: Evaluation, protocol: Numbers) -> None:
    plain = Evaluation()
    for flag in ("split", "val_share", "group_by", "subset"):
        if (value := getattr(options, flag)) != getattr(plain, flag):
            raise UserError(
                f"--{flag.replace('_', '-')} {value}: {protocol.base} takes the splits that its data have; leave it out"
            )
    if not Path(options.data).is_dir():
        raise UserError(f"--data {printable(options.data)} is not a directory; {protocol.base} needs one")
