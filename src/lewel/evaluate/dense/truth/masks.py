"""A class for every pixel, in VOC's form: palette images whose values are classes.

    YEAR/SegmentationClass/NAME.png       0 background, k the k-th class, 255 not counted, such as outlines
    YEAR/SegmentationClassAug/NAME.png    the same for trainaug, which `lewel data voc-aug` makes

All masks are read once before anything begins: a wrong one is told then, and not after hours of training.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError

from lewel.data.decode import PIXEL_LIMIT, DecodeError, Header, decode, header
from lewel.errors import UserError
from lewel.evaluate.dense.truth import small_files, voc
from lewel.evaluate.dense.truth.image_files import Files
from lewel.terminal import printable

IGNORED = 255
BACKGROUND = "background"
SPLITS = {"train": ("trainaug", "train"), "val": ("val",), "all": ("trainval",)}
FORMATS = ("PNG",)  # others may not keep each value, as JPEG does not
MOST = 2**29  # bytes
Mask = UInt8[np.ndarray, "h w"]
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Segmented:
    """n images and their masks.

    images, masks: their files.
    classes: the first is the background.  sizes: (width, height) of each image, upright.
    counts: pixels of each class in each mask; of those that are not counted last.
    digests: sha256 of each mask's values.  turned: masks that are turned with their images.
    """

    folder: Path
    split: str
    names: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    counts: Int64[np.ndarray, "n values"]
    digests: tuple[str, ...]
    turned: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: np.ndarray) -> Segmented:
        """Those images, in that order."""
        names, images, masks, sizes, digests = (
            tuple(each[index] for index in indices)
            for each in (self.names, self.images, self.masks, self.sizes, self.digests)
        )
        counts = self.counts[indices]
        changes = {"names": names, "images": images, "masks": masks, "sizes": sizes, "digests": digests}
        return replace(self, counts=counts, turned=0, **changes)

    def warnings(self) -> Iterator[str]:
        """Sentences for the user, where masks are changed."""
        if self.turned:
            yield f"{self.split}: {self.turned} masks are turned as the EXIF block of their image turns that"

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
        return self.images[index]

    def mask_file(self, index: int) -> Path:
        return self.masks[index]

    def image(self, index: int) -> Image.Image:
        """RGB. Raises DecodeError."""
        return decode(self.image_file(index))

    def mask(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """0 background, the class, or `IGNORED`. Turned as its image is, where it is for the image as it is stored."""
        found = values(self.mask_file(index))
        if (found.shape[1], found.shape[0]) == self.sizes[index]:
            return found
        return _upright(found, header(self.image_file(index)))

    def path(self, index: int) -> str:
        """A printable name of the image."""
        return printable(self.image_file(index))

    def read(self, index: int) -> tuple[Image.Image, UInt8[np.ndarray, "h w"]]:
        """The image and its mask. Raises DecodeError, also for an image that changed since its mask was looked at."""
        image, mask = self.image(index), self.mask(index)
        if image.size != (mask.shape[1], mask.shape[0]):
            there, told = f"{image.width} x {image.height}", f"{mask.shape[1]} x {mask.shape[0]}"
            raise DecodeError(self.image_file(index), f"it is {there}, its mask {told}")
        return image, mask

    def facts(self) -> dict[str, Any]:
        """What results.json says of them."""
        total = max(int(self.pixels.sum()), 1)
        return {
            "from": printable(self.folder),
            "split": self.split,
            "images": len(self),
            "turned": self.turned,
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
    than their image or with colours in the place of classes, classes that are not in the list, and for masks of which
    none has an object.
    """
    known = voc.years(root)
    folder = known[max((year for year in known if voc.splits(known[year], "Segmentation")), default=max(known))]
    there = voc.splits(folder, "Segmentation")
    split = next((name for name in SPLITS[part] if name in there), SPLITS[part][-1])
    names = tuple(voc.names(folder, "Segmentation", split))
    classes = _classes(folder)
    files = Files()
    images = tuple(voc.image_file(folder, files, name) for name in names)
    masks = tuple(_mask_file(folder, files, split, name) for name in names)
    found = list[_Found]()
    with ThreadPoolExecutor(_THREADS) as pool:
        for each in pool.map(partial(_read, folder, len(classes)), images, masks):
            found.append(each)
            advance(len(found), len(names))
    counts = np.stack([np.append(each.pixels[: len(classes)], each.pixels[IGNORED]) for each in found])
    sizes, digests = tuple(each.size for each in found), tuple(each.digest for each in found)
    _check_objects(folder, split, counts.sum(axis=0))
    turned = sum(each.turned for each in found)
    return Segmented(folder, split, names, images, masks, classes, sizes, counts, digests, turned)


def _classes(folder: Path) -> tuple[str, ...]:
    found = voc.classes(folder)
    if BACKGROUND in found:
        raise UserError(
            f"--data: {printable(folder / 'classes.txt')} names {BACKGROUND}, which is 0 in every mask; leave it out, "
            "so that 1 is the first class"
        )
    if len(found) >= IGNORED:
        raise UserError(
            f"--data: {printable(folder / 'classes.txt')} names {len(found)} classes; masks of 8 bits have "
            f"{IGNORED - 1} at most"
        )
    return (BACKGROUND, *found)


def _check_objects(folder: Path, split: str, pixels: Int64[np.ndarray, " values"]) -> None:
    """Raises UserError for masks that have only background, or nothing that is counted."""
    if pixels[1:-1].any():
        return
    what = f"--data {printable(folder)}: all pixels of {split}'s masks are"
    if not pixels[0]:
        raise UserError(f"{what} {IGNORED}, not counted; the first class is 1")
    if not pixels[-1]:
        raise UserError(f"{what} 0, background; the first class is 1")
    raise UserError(
        f"{what} 0, background, or {IGNORED}, not counted: no object is left; where {IGNORED} is the object, "
        "write 1 in its place"
    )


class _Found(NamedTuple):
    """size: (width, height).  pixels: (256,), of each value."""

    size: tuple[int, int]
    pixels: np.ndarray
    digest: str
    turned: bool


def _read(folder: Path, classes: int, image: Path, file: Path) -> _Found:
    mask = values(file)
    try:
        found = header(image)
    except DecodeError as error:
        raise UserError(f"--data: the image of {printable(file)} cannot be read: {error}") from error
    turned = (mask.shape[1], mask.shape[0]) != found.size
    mask = _fitted(mask, found, image, file)
    pixels = np.bincount(mask.reshape(-1), minlength=256)
    if wrong := [value for value in np.flatnonzero(pixels).tolist() if value >= classes and value != IGNORED]:
        raise UserError(
            f"--data: {printable(file)} has the value {wrong[0]}; 0 to {classes - 1} are classes, {IGNORED} is not "
            f"counted; other classes than VOC's are named in {printable(folder / 'classes.txt')}"
        )
    return _Found(found.size, pixels, hashlib.sha256(mask.tobytes()).hexdigest(), turned)


def _fitted(mask: Mask, found: Header, image: Path, file: Path) -> UInt8[np.ndarray, "height width"]:
    """The mask of an image with this header, upright. Raises UserError where it is not of its size.

    Also where its size is that of the image both upright and as it is stored: one of them is turned and the other may
    not be.
    """
    own = (mask.shape[1], mask.shape[0])
    if found.size == own and found.turn is not None and not (found.is_sideways and own[0] != own[1]):
        raise UserError(
            f"--data: {printable(image)} is turned by its EXIF block, and the size of {printable(file)} does not show "
            "whether the mask is turned too; store the image upright: magick mogrify -auto-orient"
        )
    if own in (found.size, found.size[::-1] if found.is_sideways else found.size):
        return _upright(mask, found)
    raise UserError(
        f"--data: {printable(file)} is {own[0]} x {own[1]}, its image {found.size[0]} x {found.size[1]}; a mask has "
        "its image's size"
    )


def _upright(mask: Mask, found: Header) -> UInt8[np.ndarray, "height width"]:
    """Turned as its image is, where it has another size than that."""
    if (mask.shape[1], mask.shape[0]) == found.size or found.turn is None:
        return mask
    return np.array(Image.fromarray(mask).transpose(found.turn))


def values(file: Path) -> UInt8[np.ndarray, "h w"]:
    """The numbers in a palette or grey image. Raises UserError for a file that is missing, damaged or in colours."""
    content = small_files.content(file, MOST)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ValueError(f"it claims {image.width} x {image.height} pixels")
            mode, found = image.mode, np.array(image) if image.mode in ("P", "L") else None
    except Exception as error:  # a decoder that is fed damaged bytes can raise anything
        told = "it is no PNG" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise UserError(f"--data: {printable(file)} cannot be read: {told}") from error
    if found is None:
        raise UserError(
            f"--data: {printable(file)} has {mode} pixels, which are no classes; masks are palette or 8-bit grey PNG "
            "files, whose values are 0 for background and 1 for the first class"
        )
    return found


def _mask_file(folder: Path, files: Files, split: str, name: str) -> Path:
    path = folder / ("SegmentationClassAug" if split == "trainaug" else "SegmentationClass") / f"{name}.png"
    try:
        return files.find(path, (".png",)) or path
    except ValueError as error:
        raise UserError(f"--data: {error}") from error
