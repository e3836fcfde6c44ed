"""A class for every pixel, in VOC's form: palette images whose values are classes.

    YEAR/SegmentationClass/NAME.png       0 background, k the k-th class, 255 not counted, such as outlines
    YEAR/SegmentationClassAug/NAME.png    the same for trainaug, which `lewel data voc-aug` makes

All masks are read once before anything begins: a wrong one is told then, and not after hours of training.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from lewel.data.decode import DecodeError, decode, printable
from lewel.errors import UserError
from lewel.evaluate.dense.truth import voc

IGNORED = 255
BACKGROUND = "background"
SPLITS = {"train": ("trainaug", "train"), "val": ("val",), "all": ("trainval",)}
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Segmented:
    """n images and their masks.

    classes: the first is the background.  sizes: (width, height) of each image.
    counts: pixels of each class in each mask; of those that are not counted last.
    digests: sha256 of each mask's values.
    """

    folder: Path
    split: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    counts: Int64[np.ndarray, "n values"]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: np.ndarray) -> Segmented:
        """Those images, in that order."""
        names, sizes, digests = (
            tuple(each[index] for index in indices) for each in (self.names, self.sizes, self.digests)
        )
        return replace(self, names=names, sizes=sizes, counts=self.counts[indices], digests=digests)

    @cached_property
    def pixels(self) -> Int64[np.ndarray, " values"]:
        """Of each class, over all masks; of those that are not counted last."""
        return self.counts.sum(axis=0)

    @cached_property
    def digest(self) -> str:
        """sha256 of the names, the masks' values and the classes."""
        found = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for name, digest in zip(self.names, self.digests, strict=True):
            found.update(f"\0{name}\0{digest}".encode(errors="surrogateescape"))
        return found.hexdigest()

    def image_file(self, index: int) -> Path:
        return self.folder / "JPEGImages" / f"{self.names[index]}.jpg"

    def mask_file(self, index: int) -> Path:
        return _mask_file(self.folder, self.split, self.names[index])

    def image(self, index: int) -> Image.Image:
        """RGB. Raises DecodeError."""
        return decode(self.image_file(index))

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """0 background, the class, or `IGNORED`."""
        return values(self.mask_file(index))

    def path(self, index: int) -> str:
        """A printable name of the image."""
        return printable(self.image_file(index))

    def read(self, index: int) -> tuple[Image.Image, UInt8[np.ndarray, "h w"]]:
        """The image and its mask. Raises DecodeError, for an image that its EXIF block turns away from its mask too."""
        image, mask = self.image(index), self.mask(index)
        if image.size != (mask.shape[1], mask.shape[0]):
            raise DecodeError(self.image_file(index), "its EXIF block turns it, its mask is not turned")
        return image, mask

    def facts(self) -> dict[str, Any]:
        """What results.json says of them."""
        total = max(int(self.pixels.sum()), 1)
        return {
            "from": printable(self.folder),
            "split": self.split,
            "images": len(self),
            "share_of_pixels": {
                name: round(count / total, 6)
                for name, count in zip((*self.classes, "ignored"), self.pixels.tolist(), strict=True)
            },
            "digest": self.digest,
        }


def open_segmentation(
    root: Path, part: Literal["train", "val", "all"], advance: Callable[[int, int], None] = lambda done, total: None
) -> Segmented:
    """The masks of trainaug where it is there, else train; or of val; or of trainval. Of the last year that has any.

    advance: told how many masks have been read, and of how many.
    Raises UserError for a split that is missing or empty, images or masks that are not there, masks of another size
    than their image or with colours in the place of classes, and classes that are not in the list.
    """
    known = voc.years(root)
    folder = known[max((year for year in known if voc.splits(known[year], "Segmentation")), default=max(known))]
    there = voc.splits(folder, "Segmentation")
    split = next((name for name in SPLITS[part] if name in there), SPLITS[part][-1])
    names = tuple(voc.names(folder, "Segmentation", split))
    classes = (BACKGROUND, *voc.classes(folder))
    found = list[_Found]()
    with ThreadPoolExecutor(_THREADS) as pool:
        for each in pool.map(partial(_read, folder, split, len(classes)), names):
            found.append(each)
            advance(len(found), len(names))
    counts = np.stack([np.append(each.pixels[: len(classes)], each.pixels[IGNORED]) for each in found])
    sizes, digests = tuple(each.size for each in found), tuple(each.digest for each in found)
    return Segmented(folder, split, names, classes, sizes, counts, digests)


class _Found(NamedTuple):
    """size: (width, height).  pixels: (256,), of each value."""

    size: tuple[int, int]
    pixels: np.ndarray
    digest: str


def _read(folder: Path, split: str, classes: int, name: str) -> _Found:
    file, image = _mask_file(folder, split, name), folder / "JPEGImages" / f"{name}.jpg"
    mask = values(file)
    size = (mask.shape[1], mask.shape[0])
    try:
        with Image.open(image) as opened:
            other = opened.size
    except OSError as error:
        raise UserError(f"--data: {printable(image)} cannot be read: {error.strerror or error}") from error
    if size != other:
        raise UserError(
            f"--data: {printable(file)} is {size[0]} x {size[1]}, its image {other[0]} x {other[1]}; a mask has its "
            "image's size"
        )
    pixels = np.bincount(mask.reshape(-1), minlength=256)
    if wrong := [value for value in np.flatnonzero(pixels).tolist() if value >= classes and value != IGNORED]:
        raise UserError(
            f"--data: {printable(file)} has the value {wrong[0]}; 0 to {classes - 1} are classes, {IGNORED} is not "
            f"counted; other classes than VOC's are named in {printable(folder / 'classes.txt')}"
        )
    return _Found(size, pixels, hashlib.sha256(mask.tobytes()).hexdigest())


def values(file: Path) -> UInt8[np.ndarray, "h w"]:
    """The numbers in a palette or grey image. Raises UserError for a file that is missing, damaged or in colours."""
    try:
        with Image.open(file) as image:
            if image.mode not in ("P", "L"):
                raise UserError(
                    f"--data: {printable(file)} has {image.mode} pixels, which are no classes; masks are palette or "
                    "8-bit grey PNG files"
                )
            return np.array(image)
    except OSError as error:
        raise UserError(f"--data: {printable(file)} cannot be read: {error.strerror or error}") from error


def _mask_file(folder: Path, split: str, name: str) -> Path:
    return folder / ("SegmentationClassAug" if split == "trainaug" else "SegmentationClass") / f"{name}.png"
