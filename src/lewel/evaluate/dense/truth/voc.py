"""PASCAL VOC's layout: where things lie, which splits there are, and objects in XML.

    YEAR/JPEGImages/NAME.jpg
    YEAR/Annotations/NAME.xml                     boxes, 1-based, the last pixel included
    YEAR/SegmentationClass/NAME.png               see `masks`
    YEAR/ImageSets/{Main,Segmentation}/SPLIT.txt  names, one on each line
    YEAR/classes.txt                              names of classes, where they are not VOC's twenty

YEAR is VOC2007 or VOC2012; --data is it, the VOCdevkit above, or the folder above that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from lewel.data.decode import printable
from lewel.errors import UserError, nearest
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated, Box, check_not_empty, clipped, fault, reaches_out
from lewel.shapes import Skip

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
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
    found = [words[0] for line in os.fsdecode(path.read_bytes()).splitlines() if (words := line.split())]
    check_not_empty(found, printable(path))
    if len(set(found)) < len(found):
        twice = next(name for place, name in enumerate(found) if name in found[:place])
        raise UserError(f"--data: {printable(path)} names {printable(twice)} twice")
    return found


def classes(folder: Path) -> tuple[str, ...]:
    """VOC's twenty, or those of classes.txt."""
    path = folder / "classes.txt"
    if not path.is_file():
        return CLASSES
    found = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not found or len(set(found)) < len(found):
        raise UserError(f"--data: {printable(path)}: a class on each line is needed, each once")
    return found


def open_objects(parts: Sequence[Part]) -> Annotations:
    """The objects of the parts together.

    Objects without a usable box are left out and listed; boxes are cut at the border of their image.
    Raises UserError for a split that is missing or empty, XML that cannot be read, and classes that are not listed.
    """
    known = classes(parts[0].folder)
    numbers = {name: number for number, name in enumerate(known)}
    skipped, out = list[Skip](), list[bool]()

    def read() -> Iterator[Annotated]:
        for folder, split in parts:
            for name in names(folder, "Main", split):
                image, boxes, faults = _image(folder, name, numbers)
                out.extend(reaches_out(boxes, image.size).tolist())
                skipped.extend(faults)
                yield image

    images = Images.of(read())
    roots = " and ".join(dict.fromkeys(printable(part.folder) for part in parts))
    split = " and ".join(f"{part.folder.name} {part.split}" for part in parts)
    return Annotations(roots, split, known, images, tuple(skipped), sum(out))


def _image(folder: Path, name: str, numbers: dict[str, int]) -> tuple[Annotated, np.ndarray, list[Skip]]:
    """The image, its boxes before they were cut, and the objects that are left out."""
    path = folder / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.parse(path).getroot()
        found = [(_text(each, "name"), _box(each), _flag(each, "difficult")) for each in root.findall("object")]
        size = _size(root, folder / "JPEGImages" / f"{name}.jpg")
    except (OSError, ElementTree.ParseError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--data: {printable(path)} cannot be read: {reason}") from error
    skipped, kept = [], []
    for number, (label, box, difficult) in enumerate(found, 1):
        if label not in numbers:
            raise UserError(
                f"--data: {printable(path)} has the class {printable(label)!r}, which is not among the {len(numbers)}"
                f"{nearest(label, numbers)}; other classes than VOC's are named in {printable(folder / 'classes.txt')}"
            )
        if why := fault(box, size):
            skipped.append(Skip(printable(path), f"object {number} ({label}): {why}"))
        else:
            kept.append((box, numbers[label], difficult))
    boxes = np.array([row[0] for row in kept], np.float64).reshape(-1, 4)
    inside = clipped(boxes, size)
    labels = np.array([row[1] for row in kept], np.int64)
    difficult = np.array([row[2] for row in kept], bool)
    areas = (inside[:, 2:] - inside[:, :2]).prod(axis=1)
    none = np.zeros(len(kept), bool)
    jpeg = folder / "JPEGImages" / f"{name}.jpg"
    return Annotated(name, jpeg, size, inside, labels, none, difficult, areas), boxes, skipped


def _text(element: Element, name: str) -> str:
    found = element.findtext(name)
    if found is None:
        raise ValueError(f"a {element.tag} has no {name}")
    return found.strip()


def _flag(element: Element, name: str) -> bool:
    return element.findtext(name, "0").strip() == "1"


def _box(element: Element) -> Box:
    """Pixel numbers from 1 on, the last one included, to edges from 0 on."""
    corners = element.find("bndbox")
    if corners is None:
        raise ValueError("an object has no bndbox")
    x0, y0, x1, y1 = (float(_text(corners, name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    return x0 - 1, y0 - 1, x1, y1


def _size(root: Element, image: Path) -> tuple[int, int]:
    """As the file says, or the image where it does not."""
    width, height = (int(root.findtext(f"size/{name}", "0")) for name in ("width", "height"))
    if width > 0 and height > 0:
        return width, height
    with Image.open(image) as opened:
        return opened.size
