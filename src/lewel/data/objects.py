"""Images of any object with a length and items: a torch Dataset, a Hugging Face dataset, an array, a list of pictures.

An item is a picture, or a tuple that begins with one, or a dict that has one under "image" or "img". A picture is a PIL
image, an array or tensor (h, w), (h, w, c) or (c, h, w) of bytes or of floats from 0 to 1, or the path of a file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from PIL import Image, ImageOps

from lewel.data import classes, splits
from lewel.data.decode import DecodeError, decode, printable
from lewel.data.names import Names
from lewel.data.rgb import UnsupportedError, to_rgb, to_rgbx
from lewel.data.splits import Split
from lewel.errors import UserError

KEYS = ("image", "img")  # of a dict's picture
LABEL = "label"  # key of a dict's class, and name of a Hugging Face dataset's column
MOST_READ = 50_000  # items that are read for their labels, where the data set does not list these


@runtime_checkable
class Items(Protocol):
    """What is needed of a data set."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class InMemory(str):
    """The name of data that lie in memory, with the data: it stands where a path would.

    parts: "train" and "val", or all of an undivided data set under None.
    """

    parts: Mapping[Split | None, Items]

    def __new__(cls, name: str, parts: Mapping[Split | None, Items]) -> InMemory:
        named = super().__new__(cls, name)
        named.parts = parts
        return named

    def __deepcopy__(self, memo: object) -> InMemory:
        return self

    @property
    def is_divided(self) -> bool:
        return "val" in self.parts

    def open(self, split: Split | None) -> Objects:
        """The images of a part. Raises UserError where there is none, or where its items are no pictures."""
        if split is None and self.is_divided:
            split = "train"
        if split not in self.parts:
            raise UserError(f'data: {self} is not divided; give {{"train": ..., "val": ...}}')
        name = str(self) if split is None else f"{split} of {self}"
        return open_objects(self.parts[split], name, labels=split is not None)


@dataclass(frozen=True)
class Objects:
    """The items of `items` whose numbers are `indices`, as images. root: what messages call them."""

    root: str
    items: Items
    indices: np.ndarray
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    notes: tuple[str, ...] = ()
    why: str = ""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def unlabelled(self) -> str:
        """Why there are no labels; '' where there are some."""
        return "" if self.labels is not None else self.why

    @cached_property
    def names(self) -> Names:
        """The numbers of the items."""
        return Names.of(map(str, self.indices.tolist()))

    def path(self, index: int) -> str:
        return f"{self.root}#{self.indices[index]}"

    def read(self, index: int) -> Image.Image:
        """The picture as RGB. Raises DecodeError for an item that cannot be had, or is no picture."""
        try:
            return picture(self.items[int(self.indices[index])])
        except DecodeError:
            raise
        except Exception as error:  # of somebody's data set: anything
            text = " ".join(str(error).split())
            raise DecodeError(
                self.path(index), text if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {text}"
            ) from error

    def rgbx(self, index: int) -> np.ndarray:
        """As `read`, (h, w, 4) uint8."""
        return to_rgbx(self.read(index))

    def subset(self, indices: np.ndarray) -> Objects:
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, indices=self.indices[indices], labels=labels)

    def digest(self) -> str:
        return self.names.digest()

    def sizes(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """Bytes of the pixels; 0 for an item that is no picture."""
        return np.array([len(self._bytes(index)) for index in indices.tolist()], np.int64)

    def crcs(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """CRC-32 of the pixels; 0 for an item that is no picture."""
        return np.array([zlib.crc32(self._bytes(index)) for index in indices.tolist()], np.int64)

    def _bytes(self, index: int) -> bytes:
        try:
            return self.read(index).tobytes()
        except DecodeError:
            return b""


def named(data: Any) -> InMemory:
    """Data in memory as what stands for a path: a data set, or a dict of them by the names of parts.

    Raises UserError for what is no data set.
    """
    if not isinstance(data, Mapping):
        return InMemory(_name(data), {None: _items(data)})
    if not all(isinstance(name, str) for name in data) or not splits.by_part(data)["train"]:
        keys = ", ".join(printable(str(key)) for key in list(data)[:3]) or "nothing"
        raise UserError(f"data: a dict needs the parts train and val, not {keys}")
    if not splits.is_divided(data):
        train = data[splits.train_name(data, "data")]
        return InMemory(_name(train), {None: _items(train)})
    chosen = splits.named(data, "data")
    return InMemory(_name(data[chosen.train]), {"train": _items(data[chosen.train]), "val": _items(data[chosen.val])})


def open_objects(items: Items, name: str, labels: bool) -> Objects:
    """The images of a data set. labels: read items one by one for these, where the data set does not list them.

    Raises UserError for an empty one, and for one whose first item is no picture, or another one each time.
    """
    opened = Objects(name, items, np.arange(len(items)))
    if not len(items):
        raise UserError(f"data: {name} is empty")
    try:
        first, again = opened.read(0), opened.read(0)
    except DecodeError as error:
        raise UserError(f"data: item 0 of {name} is no picture: {error.reason}") from error
    if first.size != again.size or first.tobytes() != again.tobytes():
        raise UserError(
            f"data: item 0 of {name} is another picture each time; take its random transforms off, lewel has its own"
        )
    values, why = _labels(items, labels)
    found = classes.Labels(None, None, why) if values is None else classes.number(values)
    return replace(
        opened, labels=found.numbers, classes=found.classes, why=f"no labels in {name}" if why == "" else found.why
    )


def picture(item: Any) -> Image.Image:
    """The RGB picture of an item. Raises UnsupportedError, DecodeError, or what the item's own code raises."""
    if isinstance(item, tuple | list) and item:
        item = item[0]
    if isinstance(item, Mapping):
        item = _of_dict(item)
    if isinstance(item, str | os.PathLike):
        return decode(item)
    if not isinstance(item, Image.Image):
        item = _from_array(item)
    return to_rgb(ImageOps.exif_transpose(item))[0]


def _of_dict(item: Mapping[Any, Any]) -> Any:
    key = next((key for key in KEYS if key in item), None)
    if key is None:
        raise UnsupportedError(f"a dict without {' or '.join(map(repr, KEYS))}; it has {', '.join(map(repr, item))}")
    return item[key]


def _from_array(item: Any) -> Image.Image:
    """From an array (h, w), (h, w, c) or (c, h, w); a tensor, which says so by `detach`, has its channels first."""
    is_tensor = hasattr(item, "detach")
    pixels = np.asarray(item.detach().cpu() if is_tensor else item)
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in (1, 3, 4), pixels.shape[2] in (1, 3, 4)
        if not (first or last):
            raise UnsupportedError(f"an array of shape {pixels.shape}: (h, w), (h, w, 3) or (3, h, w) is needed")
        pixels = pixels.transpose(1, 2, 0) if first and (is_tensor or not last) else pixels
    elif pixels.ndim != 2:
        raise UnsupportedError(f"a {type(item).__name__}: a PIL image or an array of pixels is needed")
    pixels = _as_bytes(pixels)
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    )


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise UnsupportedError(f"an array of {pixels.dtype}: uint8, or floats from 0 to 1, are needed")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise UnsupportedError(f"floats from {low:.3g} to {high:.3g}: 0 to 1 are needed, before any normalisation")
    return np.rint(pixels * 255).astype(np.uint8)


# -- names and labels


def _items(data: Any) -> Items:
    if isinstance(data, str | bytes | os.PathLike) or not isinstance(data, Items):
        raise UserError(
            f"data: a {type(data).__name__} is neither a path nor a data set with a length and items; give one of these"
        )
    try:
        len(data)
    except Exception as error:
        raise UserError(f"data: a {type(data).__name__} has no length ({type(error).__name__}: {error})") from error
    return data


def _name(data: Any) -> str:
    _items(data)
    return f"{type(data).__name__} of {len(data):,} images"


def _labels(items: Any, one_by_one: bool) -> tuple[list[str] | None, str]:
    """The name of each item's class; or None, and why."""
    numbers = _listed(items)
    if numbers is None and isinstance(items, list | tuple):
        numbers = [_label(item) for item in items]
    if numbers is None and one_by_one and len(items) <= MOST_READ:
        numbers = [_label(items[index]) for index in range(len(items))]
    if numbers is None:
        return None, "the data set does not list its labels; give it an attribute `targets`, a class for each item"
    if len(numbers) != len(items) or any(number is None for number in numbers):
        return None, ""
    names = _class_names(items)
    try:
        return [_class_name(number, names) for number in numbers], ""
    except (ValueError, TypeError, IndexError) as error:
        return None, f"labels that are no classes ({error})"


def _listed(items: Any) -> list[Any] | None:
    """The labels of all items, where a data set has them beside its items."""
    within, chosen = getattr(items, "dataset", None), getattr(items, "indices", None)
    if within is not None and chosen is not None:  # torch's Subset
        found = _listed(within)
        return None if found is None else [found[index] for index in chosen]
    if LABEL in (getattr(items, "column_names", None) or ()):  # Hugging Face
        return list(items[LABEL])
    found = next((getattr(items, name) for name in ("targets", "labels") if hasattr(items, name)), None)
    if found is None or not hasattr(found, "__len__"):
        return None
    return found.tolist() if hasattr(found, "tolist") else list(found)


def _label(item: Any) -> Any:
    if isinstance(item, tuple | list):
        return item[1] if len(item) > 1 else None
    return item.get(LABEL) if isinstance(item, Mapping) else None


def _class_names(items: Any) -> list[str] | None:
    features = getattr(items, "features", None)
    names = getattr(features[LABEL], "names", None) if isinstance(features, Mapping) and LABEL in features else None
    names = names or getattr(items, "classes", None) or getattr(getattr(items, "dataset", None), "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _class_name(label: Any, names: list[str] | None) -> str:
    if isinstance(label, str):
        return label
    number = int(label)
    if number != label or number < 0:
        raise ValueError(f"{label!r} is neither a name nor a whole number from 0 on")
    return names[number] if names else str(number)
