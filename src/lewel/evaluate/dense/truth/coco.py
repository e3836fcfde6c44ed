"""COCO's layout: images in a folder for each split, objects of all of them in one JSON file.

    ROOT/annotations/instances_SPLIT.json
    ROOT/SPLIT/FILE_NAME

SPLIT is train2017 or val2017, or plain train or val.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lewel.data.decode import printable
from lewel.errors import UserError
from lewel.evaluate.dense.truth import outlines
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated, Box, check_not_empty, clipped, fault, reaches_out
from lewel.shapes import Skip

SPLITS = {"train": ("train2017", "train"), "val": ("val2017", "val")}


def annotation_file(root: Path, part: Literal["train", "val"]) -> Path:
    """Raises UserError where it is missing: which there are."""
    folder = root / "annotations"
    for split in SPLITS[part]:
        if (path := folder / f"instances_{split}.json").is_file():
            return path
    there = sorted(path.stem.removeprefix("instances_") for path in folder.glob("instances_*.json"))
    wanted = " or ".join(f"instances_{split}.json" for split in SPLITS[part])
    raise UserError(
        f"--data {printable(root)}: annotations/{wanted} is missing; splits there: "
        f"{', '.join(map(printable, there)) or 'none'}"
    )


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Millions of objects are made, none of them garbage, and looking for some takes a third of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_without_collecting()
def open_objects(root: Path, part: Literal["train", "val"]) -> Annotations:
    """Everything of a split. Categories are numbered from 0 on, in the order of their ids; images stay in order.

    Objects without a usable box are left out and listed, and so are polygons of fewer than three points, with their
    object where it has no other; boxes are cut at the border of their image.
    Raises UserError for a split that is missing or empty, a file that is not COCO's, objects of categories or images
    that are not in it, and masks of another size than their image.
    """
    path = annotation_file(root, part)
    split = path.stem.removeprefix("instances_")
    content = _content(path)
    check_not_empty(content["images"], printable(path))
    try:
        ids = sorted(category["id"] for category in content["categories"])
        by_id = {category["id"]: str(category["name"]) for category in content["categories"]}
        rows = {image["id"]: list[dict[str, Any]]() for image in content["images"]}
        _check(path, content, rows, by_id)
        for entry in content["annotations"]:
            rows[entry["image_id"]].append(entry)
        reader = _Reader(path, root / split, {category: number for number, category in enumerate(ids)})
        images = Images.of(reader.image(image, rows[image["id"]]) for image in content["images"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"--data: {printable(path)} is not COCO's: {told}") from error
    if not images[0].path.is_file():
        raise UserError(f"--data: {printable(images[0].path)}, the first image of {printable(path)}, is not there")
    names = tuple(by_id[category] for category in ids)
    return Annotations(printable(root), split, names, images, tuple(reader.skipped), reader.clipped)


def _content(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"--data: {printable(path)} cannot be read: {error}") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in lists):
        raise UserError(f"--data: {printable(path)} is not COCO's: images, annotations and categories are needed")
    return {name: content[name] for name in lists}


def _check(path: Path, content: dict[str, Any], images: Iterable[int], categories: dict[int, str]) -> None:
    """Raises UserError for ids that are there twice, or not at all."""
    for name in ("images", "categories"):
        given = [entry["id"] for entry in content[name]]
        if len(set(given)) < len(given):
            raise UserError(f"--data: {printable(path)} has {len(given) - len(set(given))} ids of {name} twice")
    known = set(images)
    for what, allowed, told in (
        ("category_id", set(categories), f"which are not among its {len(categories)} categories"),
        ("image_id", known, f"which are not among its {len(known)} images"),
    ):
        wrong = [entry[what] for entry in content["annotations"] if entry[what] not in allowed]
        if wrong:
            first = ", ".join(map(str, dict.fromkeys(wrong[:100])))[:60]
            raise UserError(f"--data: {printable(path)}: {len(wrong)} objects have a {what} of {first}, {told}")


@dataclass
class _Reader:
    """Objects of one file, and what was left out of them."""

    path: Path
    folder: Path
    numbers: dict[int, int]
    skipped: list[Skip] = field(default_factory=list)
    clipped: int = 0

    def image(self, image: dict[str, Any], entries: Sequence[dict[str, Any]]) -> Annotated:
        size = (int(image["width"]), int(image["height"]))
        kept = [(entry, *found) for entry in entries if (found := self._object(image, size, entry)) is not None]
        boxes = np.array([box for _, box, _ in kept], np.float64).reshape(-1, 4)
        self.clipped += int(reaches_out(boxes, size).sum())
        return Annotated(
            name=str(image["file_name"]),
            path=self.folder / image["file_name"],
            size=size,
            boxes=clipped(boxes, size),
            labels=np.array([self.numbers[entry["category_id"]] for entry, _, _ in kept], np.int64),
            crowd=np.array([bool(entry.get("iscrowd", 0)) for entry, _, _ in kept], bool),
            difficult=np.zeros(len(kept), bool),
            areas=np.array([float(entry["area"]) for entry, _, _ in kept], np.float64),
            outlines=tuple(outline for _, _, outline in kept),
        )

    def _object(
        self, image: dict[str, Any], size: tuple[int, int], entry: dict[str, Any]
    ) -> tuple[Box, outlines.Outline] | None:
        x, y, width, height = map(float, entry["bbox"])
        box = (x, y, x + width, y + height)
        if why := fault(box, size):
            self._skip(image, entry, why)
            return None
        try:
            outline, short = outlines.read(entry["segmentation"], size[1], size[0])
        except ValueError as error:
            raise UserError(f"--data: {printable(self.path)}: object {entry['id']} has {error}") from error
        if outline is None or short:
            rest = "no other, object left out" if outline is None else "the others are kept"
            self._skip(image, entry, f"{short} polygons of fewer than three points; {rest}")
        return None if outline is None else (box, outline)

    def _skip(self, image: dict[str, Any], entry: dict[str, Any], why: str) -> None:
        self.skipped.append(Skip(printable(str(image["file_name"])), f"object {entry['id']}: {why}"))
