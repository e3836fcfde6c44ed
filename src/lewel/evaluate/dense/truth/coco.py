"""COCO's layout: images in a folder for each split, objects of all of them in one JSON file.

    ROOT/annotations/instances_SPLIT.json
    ROOT/SPLIT/FILE_NAME

SPLIT is train2017 or val2017, or plain train or val, or another name of such a part, as valid.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from lewel.data import splits
from lewel.data.decode import DecodeError, header
from lewel.errors import UserError
from lewel.evaluate.dense.truth import coco_content, image_files, outlines
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.coco_content import Content, Entry, called
from lewel.evaluate.dense.truth.json_fields import Id, flag, number, positive, shown, side
from lewel.evaluate.dense.truth.objects import Annotated, Box, clipped, fault, reaches_out
from lewel.shapes import Skip
from lewel.terminal import printable

SPLITS = {"train": ("train2017", "train"), "val": ("val2017", "val")}


def annotation_file(root: Path, part: Literal["train", "val"]) -> Path:
    """Raises UserError where it is missing: which there are."""
    folder = root / "annotations"
    for split in SPLITS[part]:
        if (path := folder / f"instances_{split}.json").is_file():
            return path
    there = sorted(path.stem.removeprefix("instances_") for path in folder.glob("instances_*.json"))
    if names := splits.by_part(there)[part]:
        return folder / f"instances_{splits.the_only(names, part, f'--data {printable(root)}')}.json"
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
    """Everything of a split: see `coco_content.read` and `_Reader`. Boxes are cut at the border of their image.

    Raises UserError for a split that is missing or empty, what those two refuse, and images none of which can be used.
    """
    path = annotation_file(root, part)
    split = path.stem.removeprefix("instances_")
    content = coco_content.read(path)
    reader = _Reader(path, root, split, content)
    images = Images.of(reader.image(id, image) for id, image in content.images.items())
    remarks = (*content.remarks, *reader.sentences(), *reader.check_images())
    return Annotations(printable(root), split, content.classes, images, tuple(reader.skipped), reader.clipped, remarks)


@dataclass
class _Reader:
    """Objects of one file, and what was left out of them or changed.

    Left out and listed are objects without a usable box, polygons that cannot be drawn, with their object where it has
    no other, and masks that are empty. Sizes that are none are the images' own, areas that are none those of the masks.
    Where no object has a mask, all have boxes only.
    Raises UserError for values of another kind, and for masks that are damaged or of another size than their image.
    """

    path: Path
    root: Path
    split: str
    content: Content
    skipped: list[Skip] = field(default_factory=list)
    clipped: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    files: image_files.Files = field(default_factory=image_files.Files)
    seen: list[image_files.Image] = field(default_factory=list)
    by_file: dict[Path, Id] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries = self.content.entries
        self.masks = not entries or any(entry.get("segmentation") for entry in entries)

    def image(self, id: Id, image: Entry) -> Annotated:
        path = self._path(id, image)
        size = self._size(id, image, path)
        kept = [
            (entry, *found)
            for entry in self.content.objects[id]
            if (found := self._object(image, size, entry)) is not None
        ]
        boxes = np.array([box for _, box, _ in kept], np.float64).reshape(-1, 4)
        self.clipped += int(reaches_out(boxes, size).sum())
        inside = clipped(boxes, size)
        areas = [self._area(entry, outline, box, size) for (entry, _, outline), box in zip(kept, inside, strict=True)]
        return Annotated(
            name=image["file_name"],
            path=path,
            size=size,
            boxes=inside,
            labels=np.array([self.content.numbers[entry["category_id"]] for entry, _, _ in kept], np.int64),
            crowd=np.array([self._crowd(entry) for entry, _, _ in kept], bool),
            difficult=np.zeros(len(kept), bool),
            areas=np.array(areas, np.float64),
            outlines=tuple(outline for _, _, outline in kept if outline is not None) if self.masks else None,
        )

    def sentences(self) -> Iterator[str]:
        for what, count in self.changed.items():
            yield f"{count} {what}"

    def check_images(self) -> Iterator[str]:
        return image_files.check(self.seen, self.files, printable(self.path))

    def _path(self, id: Id, image: Entry) -> Path:
        folder, name = self.root / self.split, image["file_name"]
        try:
            found = image_files.located(self.files, folder, self.root, name)
        except ValueError as error:
            self._refuse(f"image {shown(id)}: {error}")
        if found is None:
            return folder / name
        if found != folder / name:
            self.changed["images are found by another spelling than their file_name's"] += 1
        if (other := self.by_file.setdefault(found, id)) != id:
            self._refuse(f"images {shown(other)} and {shown(id)} are the same file, {printable(found)}")
        return found

    def _size(self, id: Id, image: Entry, path: Path) -> tuple[int, int]:
        width, height = side(image.get("width")), side(image.get("height"))
        if width is not None and height is not None:
            self.seen.append(image_files.Image(path, (width, height)))
            return width, height
        try:
            found = header(path).size
        except DecodeError as error:
            self._refuse(f"image {shown(id)} has no usable width and height, and cannot be read: {error}")
        self.seen.append(image_files.Image(path, None))
        self.changed["images have no usable width and height: their own are taken"] += 1
        return found

    def _object(self, image: Entry, size: tuple[int, int], entry: Entry) -> tuple[Box, outlines.Outline | None] | None:
        try:
            box = _box(entry)
            if why := fault(box, size):
                self._skip(image, entry, why)
                return None
            if not self.masks:
                return box, None
            outline, left_out = outlines.read(entry.get("segmentation") or [], size[1], size[0])
        except ValueError as error:
            self._refuse(f"{self._called(entry)} has {error}")
        if left_out:
            self._skip(image, entry, left_out)
        return None if outline is None else (box, outline)

    def _crowd(self, entry: Entry) -> bool:
        given = entry.get("iscrowd", 0)
        found = flag(given)
        if found is None:
            self._refuse(f"{self._called(entry)} has iscrowd {shown(given)}; it is 0 or 1")
        if isinstance(given, str):
            self.changed['objects have iscrowd as text, read as the number, such as "0" as 0'] += 1
        return found

    def _area(self, entry: Entry, outline: outlines.Outline | None, box: np.ndarray, size: tuple[int, int]) -> float:
        if (given := positive(entry.get("area"))) is not None:
            return given
        of = "boxes" if outline is None else "masks"
        self.changed[f"objects have no usable area: those of their {of} are taken"] += 1
        if outline is None:
            return float((box[2:] - box[:2]).prod())
        return outlines.area(outline, size[1], size[0])

    def _called(self, entry: Entry) -> str:
        return called(entry, self.content.entries, "object")

    def _refuse(self, why: str) -> NoReturn:
        raise UserError(f"--data: {printable(self.path)}: {why}")

    def _skip(self, image: Entry, entry: Entry, why: str) -> None:
        self.skipped.append(Skip(printable(image["file_name"]), f"{self._called(entry)}: {why}"))


def _box(entry: Entry) -> Box:
    """x0 y0 x1 y1. Raises ValueError for what is no x y width height."""
    given: Sequence[Any] = entry.get("bbox", ())
    if not isinstance(given, list) or len(given) != 4:
        raise ValueError(f"the bbox {shown(given)}; x y width height are needed" if "bbox" in entry else "no bbox")
    try:
        x, y, width, height = map(number, given)
    except ValueError as error:
        raise ValueError(f"a bbox with {error}") from None
    return x, y, x + width, y + height
