"""Square pictures and what is where in them: the middle of images with VOC's masks, or scenes that are made here."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from lewel.console import Console
from lewel.data import scenes
from lewel.evaluate.dense.truth.masks import IGNORED, Segmented, open_segmentation

SCENES = "scenes"


class Square(NamedTuple):
    """A picture and the classes of its pixels, both of one square; sizes differ."""

    name: str
    picture: Image.Image
    classes: UInt8[np.ndarray, "side side"]


@runtime_checkable
class Scenery(Protocol):
    def __len__(self) -> int: ...

    def square(self, index: int) -> Square: ...

    def facts(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Photographs:
    """Their central squares."""

    images: Segmented

    def __len__(self) -> int:
        return len(self.images)

    def square(self, index: int) -> Square:
        """Raises DecodeError."""
        picture, mask = self.images.image(index), Image.fromarray(self.images.mask(index))
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        return Square(self.images.names[index], picture.crop(box), np.asarray(mask.crop(box)))

    def facts(self) -> dict[str, Any]:
        return self.images.facts()


@dataclass(frozen=True)
class Made:
    """Scenes of the split val, painted when they are asked for: nothing is written."""

    made: scenes.Made

    def __len__(self) -> int:
        return self.made.val

    def square(self, index: int) -> Square:
        found = scenes.scene(self.made, "val", index)
        return Square(scenes.voc_name("val", index), Image.fromarray(found.pixels), scenes.class_mask(found))

    def facts(self) -> dict[str, Any]:
        numbers = {name: value for name, value in asdict(self.made).items() if name != "train"}
        digest = hashlib.sha256(scenes.as_json(numbers)).hexdigest()
        return {"from": SCENES, "split": "val", "images": len(self), **numbers, "digest": digest}


def open_scenery(data: str, count: int, side: int, seed: int, console: Console) -> Scenery:
    """`data` is "scenes", of which `count` of `side` pixels are made by `seed`, or a folder in VOC's form, all of it.

    Raises UserError as `open_segmentation`.
    """
    if data == SCENES:
        return Made(scenes.Made(1, count, side, seed))
    with console.status("reading the masks"):
        return Photographs(open_segmentation(Path(data), "all"))


class Regions(NamedTuple):
    """Of r x r pixels.  each: one mask for each class that has objects in the picture, where large enough."""

    each: Bool[Tensor, "k r r"]
    counted: Bool[Tensor, "r r"]


def regions(classes: UInt8[np.ndarray, "side side"], resolution: int, least: float) -> Regions:
    """What is where at that resolution. Classes with less than the share `least` of the counted pixels are left out."""
    small = np.asarray(Image.fromarray(classes).resize((resolution, resolution), Image.Resampling.NEAREST))
    counted = small != IGNORED
    enough = max(least * counted.sum(), 1)
    kept = [value for value in np.unique(small[counted & (small > 0)]) if (small == value).sum() >= enough]
    each = np.stack([small == value for value in kept]) if kept else np.zeros((0, *small.shape), bool)
    return Regions(torch.from_numpy(each), torch.from_numpy(counted))
