"""PASCAL VOC's layout: where things lie, which splits there are, and objects in XML.

    YEAR/JPEGImages/NAME.jpg                      or another extension
    YEAR/Annotations/NAME.xml                     boxes, 1-based, the last pixel included
    YEAR/SegmentationClass/NAME.png               see `masks`
    YEAR/ImageSets/{Main,Segmentation}/SPLIT.txt  names, one on each line
    YEAR/classes.txt                              names of classes, where they are not VOC's twenty

YEAR is VOC2007 or VOC2012; --data is it, the VOCdevkit above, or the folder above that.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lewel.data.decode import DecodeError, header
from lewel.data.scan import EXTENSIONS
from lewel.errors import UserError, nearest
from lewel.evaluate.dense.truth import image_files, small_files, voc_xml
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated, check_not_empty, clipped, fault, reaches_out
from lewel.shapes import Skip
from lewel.terminal import printable

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
FLAGS = ("-1", "0", "1")  # behind a name in the lists of one class: absent, difficult, present
XML = ".xml"
Kind = Literal["Main", "Segmentation"]


class Part(NamedTuple):
    """A split of a year."""

    folder: Path
    split: str


def years(root: Path) -> dict[str, Path]:
    """The folders of the years: {"VOC2007": ..., "VOC2012": ...}, of whichever are there; {"": root} where it is one.

    Raises UserError where there is none.
    """
    if (root / "ImageSets").is_dir():
        return {"": root}
    for top in (root, root / "VOCdevkit"):
        if found := {path.name: path for path in sorted(top.glob("VOC20*")) if (path / "ImageSets").is_dir()}:
            return found
    raise UserError(
        f"--data {printable(root)} has no VOC data: give VOCdevkit, or a year's folder, with ImageSets, JPEGImages and "
        "Annotations"
    )


def detection_parts(root: Path, part: Literal["train", "val"]) -> list[Part]:
    """The protocol's trainval of 2007 and 2012 and test of 2007, where those are there; else train and val of the last.

    Raises UserError where a split is missing: which there are.
    """
    known = years(root)
    old, new = known.get("VOC2007"), known.get("VOC2012")
    if old and new and "test" in splits(old, "Main"):
        return [Part(old, "trainval"), Part(new, "trainval")] if part == "train" else [Part(old, "test")]
    return [Part(known[max(known)], part)]


def splits(folder: Path, kind: Kind) -> list[str]:
    """Of a year. Those of one class, such as dog_train, are not counted."""
    found = sorted(path.stem for path in (folder / "ImageSets" / kind).glob("*.txt"))
    return [name for name in found if "_" not in name]


def names(folder: Path, kind: Kind, split: str) -> list[str]:
    """The images of a split. Raises UserError where it is missing, empty, or names one twice."""
    path = folder / "ImageSets" / kind / f"{split}.txt"
    if not path.is_file():
        there = ", ".join(map(printable, splits(folder, kind))) or "none"
        raise UserError(f"--data: {printable(path)} is missing; splits there: {there}")
    files = image_files.Files()
    found = [_image_name(folder, files, line) for line in small_files.lines(path)]
    check_not_empty(found, printable(path))
    if len(set(found)) < len(found):
        twice = next(name for name, count in Counter(found).items() if count > 1)
        raise UserError(f"--data: {printable(path)} names {printable(twice)} twice")
    return found


def _image_name(folder: Path, files: image_files.Files, line: str) -> str:
    """What a line names: the line or, where no image is called so, it without a flag of -1, 0 or 1 and an extension."""

    def is_there(name: str) -> bool:
        try:
            return any(files.find(path, kinds) for path, kinds in _places(folder, name))
        except ValueError:  # several are
            return True

    plain = line.replace("\\", "/")
    *start, last = plain.split()
    without = plain.removesuffix(last).rstrip() if start and last in FLAGS else plain
    stem, extension = os.path.splitext(without)
    bare = stem if extension.lower() in (*EXTENSIONS, XML) else without
    return next((name for name in (line, plain, without, bare) if is_there(name)), bare)


def _places(folder: Path, name: str) -> tuple[tuple[Path, Sequence[str]], ...]:
    return (folder / "JPEGImages" / f"{name}.jpg", EXTENSIONS), (folder / "Annotations" / f"{name}{XML}", (XML,))


def image_file(folder: Path, files: image_files.Files, name: str) -> Path:
    """JPEGImages/NAME.jpg, or the file that is there in its place. Raises UserError where several are."""
    path = folder / "JPEGImages" / f"{name}.jpg"
    try:
        return files.find(path) or path
    except ValueError as error:
        raise UserError(f"--data: {error}") from error


def classes(folder: Path) -> tuple[str, ...]:
    """VOC's twenty, or those of classes.txt. Raises UserError where that is not UTF-8, empty, or names one twice."""
    path = folder / "classes.txt"
    if not path.exists():
        return CLASSES
    found = tuple(small_files.words(path))
    if not found or len(set(found)) < len(found):
        raise UserError(f"--data: {printable(path)}: a class on each line is needed, each once")
    return found


def open_objects(parts: Sequence[Part]) -> Annotations:
    """The objects of the parts together.

    Objects without a usable box are left out and listed; boxes are cut at the border of their image. Where a file has
    no size, that of the image is taken.
    Raises UserError for a split that is missing or empty, XML that cannot be read, classes that are not listed, and
    images none of which can be used.
    """
    known = classes(parts[0].folder)
    reader = _Reader({name: number for number, name in enumerate(known)})
    images = Images.of(reader.image(folder, name) for folder, split in parts for name in names(folder, "Main", split))
    roots = " and ".join(dict.fromkeys(printable(part.folder) for part in parts))
    split = " and ".join(f"{part.folder.name} {part.split}" for part in parts)
    remarks = (*reader.sentences(), *image_files.check(reader.seen, reader.files, f"{roots}, {split},"))
    return Annotations(roots, split, known, images, tuple(reader.skipped), reader.clipped, remarks)


@dataclass
class _Reader:
    """Objects of images, what was left out of them, and how many boxes or sizes have to be told of.

    numbers: of the classes, by name.
    """

    numbers: dict[str, int]
    skipped: list[Skip] = field(default_factory=list)
    clipped: int = 0
    from_zero: int = 0
    without_size: int = 0
    files: image_files.Files = field(default_factory=image_files.Files)
    seen: list[image_files.Image] = field(default_factory=list)

    def image(self, folder: Path, name: str) -> Annotated:
        path = folder / "Annotations" / f"{name}{XML}"
        marked = voc_xml.read(self.files.find(path, (XML,)) or path)
        image = image_file(folder, self.files, name)
        size = marked.size or self._own_size(path, image)
        self.seen.append(image_files.Image(image, marked.size))
        kept = [each for number, each in enumerate(marked.objects, 1) if self._is_usable(path, number, each, size)]
        boxes = np.array([each.box for each in kept], np.float64).reshape(-1, 4)
        self.clipped += int(reaches_out(boxes, size).sum())
        self.from_zero += sum(each.from_zero for each in kept)
        inside = clipped(boxes, size)
        return Annotated(
            name,
            image,
            size,
            inside,
            labels=np.array([self.numbers[each.name] for each in kept], np.int64),
            crowd=np.zeros(len(kept), bool),
            difficult=np.array([each.difficult for each in kept], bool),
            areas=(inside[:, 2:] - inside[:, :2]).prod(axis=1),
        )

    def sentences(self) -> Iterator[str]:
        if self.without_size:
            yield f"{self.without_size} files have no usable size: the images' own are taken"
        if self.from_zero:
            yield (
                f"{self.from_zero} boxes begin at 0, where VOC's first pixel is 1: they may be counted from 0, "
                "but are read as counted from 1"
            )

    def _own_size(self, path: Path, image: Path) -> tuple[int, int]:
        self.without_size += 1
        try:
            return header(image).size
        except DecodeError as error:
            raise UserError(
                f"--data: {printable(path)} has no usable size, and its image cannot be read: {error}"
            ) from error

    def _is_usable(self, path: Path, number: int, each: voc_xml.Object, size: tuple[int, int]) -> bool:
        if each.name not in self.numbers:
            raise UserError(
                f"--data: {printable(path)} has the class {printable(each.name)!r}, which is not among the "
                f"{len(self.numbers)}{nearest(each.name, self.numbers)}; other classes than VOC's are named in "
                f"{printable(path.parents[1] / 'classes.txt')}"
            )
        if why := fault(each.box, size):
            self.skipped.append(Skip(printable(path), f"object {number} ({printable(each.name)}): {why}"))
        return why is None
