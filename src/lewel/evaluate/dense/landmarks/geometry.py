"""Squares around faces, cut out of images with one affine map, and points through the same map.

A map takes a point of the square to its point in the image: (x, y) -> matrix[:, :2] @ (x, y) + matrix[:, 2], both in
pixels whose first one is from 0 0 to 1 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from PIL import Image
from PIL.Image import Resampling, Transform

Affine = Float64[np.ndarray, "2 3"]


class Change(NamedTuple):
    """What is done to the square in the image, and so the other way round to the face in the square.

    rotation: degrees.  scale: factor of the side.  shift: right and down, as shares of the side.  flip: mirrored.
    """

    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False


AS_IT_IS = Change()


def square(points: Float64[np.ndarray, "k 2"], margin: float, size: int, change: Change = AS_IT_IS) -> Affine:
    """From a square of `size` pixels to the image: around the middle of the points' box, `margin` times as large.

    Points that are NaN are not looked at.
    """
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    side = margin * float((high - low).max()) * change.scale
    turn = math.radians(change.rotation)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * (side / size)
    if change.flip:
        matrix = matrix @ np.diag([-1.0, 1.0])
    centre = (low + high) / 2 + side * np.array(change.shift)
    return np.column_stack([matrix, centre - matrix @ np.array([size / 2, size / 2])])


def moved(points: Float[np.ndarray, "k 2"], affine: Affine) -> Float64[np.ndarray, "k 2"]:
    return points.astype(np.float64) @ affine[:, :2].T + affine[:, 2]


def inverse(affine: Affine) -> Affine:
    back = np.linalg.inv(affine[:, :2])
    return np.column_stack([back, -back @ affine[:, 2]])


def cut(image: Image.Image, affine: Affine, size: int) -> Image.Image:
    """The square, black where it reaches beyond the image.

    An image that is larger is first made smaller by Pillow's resize, which averages over all pixels: an affine map
    alone would look at four of them.
    """
    corners = moved(np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64), affine)
    scale = max(math.sqrt(abs(np.linalg.det(affine[:, :2]))), 1.0)
    limits = np.array(image.size)
    low = np.clip(np.floor(corners.min(axis=0) - 2 * scale), 0, limits).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + 2 * scale), 0, limits).astype(int)
    if (high <= low).any():
        return Image.new(image.mode, (size, size))
    there = np.maximum(np.rint((high - low) / scale), 1).astype(int)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    near = image.resize((int(there[0]), int(there[1])), Resampling.BILINEAR, box=box)
    ratio = there / (high - low)
    matrix = np.column_stack([ratio[:, None] * affine[:, :2], ratio * (affine[:, 2] - low)])
    return near.transform((size, size), Transform.AFFINE, matrix.reshape(-1).tolist(), Resampling.BILINEAR)


def mirrored(points: int) -> Int64[np.ndarray, " k"] | None:
    """Which point of a face each one is in the mirrored face; None where that is not known, for other than 68."""
    return None if points != 68 else _MIRRORED_68


def _swapped(*pairs: tuple[range, range]) -> Int64[np.ndarray, " k"]:
    found = np.arange(68)
    for right, left in pairs:
        found[list(right)], found[list(left)] = list(left), list(right)
    return found


_MIRRORED_68 = _swapped(
    (range(0, 8), range(16, 8, -1)),  # jaw
    (range(17, 22), range(26, 21, -1)),  # brows
    (range(31, 33), range(35, 33, -1)),  # nostrils
    (range(36, 40), range(45, 41, -1)),  # eyes: from the outer corner over the upper lid to the inner one,
    (range(40, 42), range(47, 45, -1)),  # and back below
    (range(48, 51), range(54, 51, -1)),  # lips, outside: upper edge,
    (range(55, 57), range(59, 57, -1)),  # lower edge
    (range(60, 62), range(64, 62, -1)),  # lips, inside
    (range(65, 66), range(67, 66, -1)),
)
