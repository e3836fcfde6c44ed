"""Images with the objects that people have marked in them, as every detection task takes them.

Boxes are x0 y0 x1 y1 in pixels, the edges of what they hold: the whole of an image is 0 0 width height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from PIL import Image
from PIL.Image import Transpose

from lewel.data.decode import decode, header
from lewel.errors import UserError
from lewel.evaluate.dense.truth.image_files import is_upright
from lewel.evaluate.dense.truth.outlines import Outline, rasterised
from lewel.shapes import Skip

Box = tuple[float, float, float, float]
_BACK = {Transpose.ROTATE_90: Transpose.ROTATE_270, Transpose.ROTATE_270: Transpose.ROTATE_90}  # others: themselves
REACH = 1.0  # pixels beyond the border that rounding may explain


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image and its k objects; k may be 0.

    name: unique in its set.  size: (width, height).  labels: places in the set's `classes`.
    crowd: the box or mask is of a group (COCO).  difficult: as VOC says.
    areas: of the objects as the annotations say, in pixels: of the mask for COCO, of the box for VOC.
    outlines: polygons or run lengths of each object; none where there are no masks.
    """

    name: str
    path: Path
    size: tuple[int, int]
    boxes: Float64[np.ndarray, "k 4"]
    labels: Int64[np.ndarray, " k"]
    crowd: Bool[np.ndarray, " k"]
    difficult: Bool[np.ndarray, " k"]
    areas: Float64[np.ndarray, " k"]
    outlines: tuple[Outline, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self) -> Image.Image:
        """RGB, upright or, where the annotations are for that, as it is stored.

        Raises DecodeError, also for an image of another size than its annotations.
        """
        image = decode(self.path)
        if image.size == self.size:
            return image
        found = header(self.path)
        if is_upright(self.path, found, self.size) or found.turn is None:
            return image
        return image.transpose(_BACK.get(found.turn, found.turn))

    def masks(self) -> Bool[np.ndarray, "k h w"]:
        """Of the objects, made at each call."""
        assert self.outlines is not None, "these annotations have boxes only"
        width, height = self.size
        return rasterised(self.outlines, height, width)


def first_skipped(skipped: Sequence[Skip], most: int = 3) -> str:
    """The first of them, with their reasons, for a warning."""
    return "; ".join(f"{skip.path}: {skip.reason}" for skip in skipped[:most]) + (
        "; ..." if len(skipped) > most else ""
    )


def check_not_empty(images: Sequence[object], where: str) -> None:
    """Raises UserError for a set without images."""
    if not images:
        raise UserError(f"--data: {where} names no images; an evaluation needs some")


def clipped(boxes: Float[np.ndarray, "k 4"], size: tuple[int, int]) -> Float64[np.ndarray, "k 4"]:
    """What lies inside the image."""
    return np.clip(boxes.astype(np.float64), 0, np.array([*size, *size], np.float64))


def reaches_out(boxes: Float[np.ndarray, "k 4"], size: tuple[int, int]) -> Bool[np.ndarray, " k"]:
    """Whether a box reaches more than `REACH` beyond the image."""
    return np.abs(boxes - clipped(boxes, size)).max(axis=1, initial=0) > REACH


def fault(box: Box, size: tuple[int, int]) -> str | None:
    """Why an object with this box cannot be used; None where it can."""
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)):
        why = "is not a number"
    elif x1 <= x0 or y1 <= y0:
        why = "has no area"
    elif x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        why = f"is outside the image, {size[0]} x {size[1]}"
    else:
        return None
    return f"box {x0:g} {y0:g} {x1:g} {y1:g} {why}"
