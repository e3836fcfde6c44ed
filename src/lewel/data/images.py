"""Which images there are: a folder at any depth, a list file, CIFAR-10's binary files, an index, shards, objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from PIL import Image

from lewel.data import index, remote
from lewel.data.cifar import Pixels, cifar_folder, open_cifar
from lewel.data.classes import matched
from lewel.data.decode import first_few, printable
from lewel.data.folder import Files, open_folder
from lewel.data.folder import is_divided as is_divided_folder
from lewel.data.lists import SUFFIXES, is_divided_list, open_list
from lewel.data.objects import InMemory, Objects
from lewel.data.shards import Shards
from lewel.data.splits import Split
from lewel.errors import UserError

Source = Files | Pixels | Shards | Objects


@runtime_checkable
class Images(Protocol):
    """What a data set is to everything above."""

    @property
    def labels(self) -> np.ndarray | None:
        """(n,) int64 class numbers, or None where the images have none."""
        ...

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what was found, and what was left out."""
        ...

    @property
    def unlabelled(self) -> str:
        """Why there are no labels, in words; '' where there are some."""
        ...

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """The name of the image, byte for byte: text as `lewel.data.names` says. `printable` shows it."""
        ...

    def read(self, index: int) -> Image.Image:
        """The image as RGB. Raises `decode.DecodeError`."""
        ...

    def rgbx(self, index: int) -> np.ndarray:
        """As `read`, (h, w, 4) uint8: red, green, blue and a byte of padding a pixel."""
        ...


@runtime_checkable
class Fetches(Protocol):
    """Images of which many are had as quickly as one."""

    def fetched(self, indices: Sequence[int]) -> Images:
        """The same images; those of `indices` are already here."""
        ...


def fetched(images: Images, indices: Sequence[int]) -> Images:
    """`images`, of which those of `indices` will be read now."""
    return images.fetched(indices) if isinstance(images, Fetches) else images


def open_images(path: str | os.PathLike[str], split: Split | None = None) -> Source:
    """Find the images of `path`: a folder, a .txt or .csv list, CIFAR-10's binary files, an index, or shards.

    An index is a .safetensors file of `lewel data index` or `lewel data pack`; shards are the folder of the latter, or
    its URL (s3://, https://, ...), which is read by byte ranges.
    A folder is divided when it has train/ and val/ (or test/), or other tools' names for them (`splits`), a .csv when
    its header names a split column with these words, CIFAR-10 when it has test_batch.bin. split: "train" or "val" take
    that part, and need it; None takes the part for training where there is one, else everything.
    Labels are the first folder below the (part of the) folder, when all images lie in two such folders or more, or a
    list's column label (its second where no header says else). The order is that of the names' bytes, the same on
    every machine and from every source. Data in memory (`lewel.data.objects`) keep their own order.
    Raises UserError where there is nothing to read.
    """
    if isinstance(path, InMemory):
        return path.open(split)
    if (indexed := _index_of(path)) is not None:
        return index.open_part(indexed, split)
    where = Path(path)
    if where.is_file():
        if where.suffix.lower() in SUFFIXES:
            return open_list(where, split)
        raise UserError(
            f"--data {printable(where)}: needs a folder, a list of paths that ends in .txt or .csv, or an index that "
            f"ends in {index.SUFFIX}"
        )
    if not where.is_dir():
        raise UserError(f"--data {printable(where)}: no such folder, list file or index")
    if (cifar := cifar_folder(where)) is not None:
        return open_cifar(cifar, split)
    return open_folder(where, split)


def is_divided(path: str | os.PathLike[str]) -> bool:
    """Whether `open_images(path, "val")` has something to open."""
    if isinstance(path, InMemory):
        return path.is_divided
    if (indexed := _index_of(path)) is not None:
        return "val" in index.read(indexed)
    where = Path(path)
    if (cifar := cifar_folder(where)) is not None:
        return (cifar / "test_batch.bin").is_file()
    return is_divided_list(where) if where.is_file() else is_divided_folder(where)


def _index_of(path: str | os.PathLike[str]) -> str | None:
    """The index file that `path` is, or has: a path or a URL; None where there is none."""
    text = os.fspath(path)
    if text.lower().endswith(index.SUFFIX) and (remote.is_url(text) or os.path.isfile(text)):
        return text
    if remote.is_url(text):
        return f"{text.rstrip('/')}/{index.OF_SHARDS}"
    inside = os.path.join(text, index.OF_SHARDS)
    return inside if os.path.isfile(inside) else None


def relabelled(images: Source, classes: list[str]) -> Source:
    """The same images with the class numbers of another part of the data: a part may lack some of the other's classes.

    Raises UserError for a class that is not in `classes`.
    """
    assert images.labels is not None and images.classes is not None
    numbers = matched(images.classes, classes)
    if unknown := [name for name, number in zip(images.classes, numbers.tolist(), strict=True) if number < 0]:
        raise UserError(
            f"{printable(images.root)} has {len(unknown)} classes that the images for training lack: "
            f"{first_few(unknown, 5)}; both parts need the same names"
        )
    other = [name for name, number in zip(images.classes, numbers.tolist(), strict=True) if classes[number] != name]
    note = (
        f"{printable(images.root)}: {first_few(other)} in another Unicode form than in train, taken for the same class"
    )
    notes = (*images.notes, note) if other else images.notes
    return replace(images, labels=numbers[images.labels], classes=classes, notes=notes)


def evenly(images: Source, most: int) -> Source:
    """At most so many of the images, evenly over their order, and so over the classes of a folder."""
    if len(images) <= most:
        return images
    return images.subset(spread(len(images), most))


def spread(n: int, most: int) -> Int[np.ndarray, " chosen"]:
    """At most so many of the numbers 0 .. n - 1, evenly."""
    return np.linspace(0, n - 1, min(most, n)).round().astype(np.int64)


def mixed(images: Images, seed: int) -> np.ndarray:
    """All indices in an order drawn by the seed; one of each class, then another of each, where there are classes."""
    order = np.random.default_rng(seed).permutation(len(images))
    if images.labels is None:
        return order
    labels = images.labels[order]
    by_class = np.argsort(labels, kind="stable")
    turn = np.empty_like(order)
    turn[by_class] = np.arange(len(order)) - np.searchsorted(labels[by_class], labels[by_class])
    return order[np.argsort(turn, kind="stable")]
