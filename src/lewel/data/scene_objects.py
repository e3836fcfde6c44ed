"""The ten kinds of object in the scenes: for each a shape and a texture of its own.

Both are functions of an object's own coordinates, u to the right and v down, in which it fits into the unit disc. A
shape gives the distance to the outline, about 1 : 1 near it and positive inside. A texture gives the share of the
object's second colour, in [0, 1]. `repeats`, around 1, makes a texture finer or coarser. The painter draws the colours
at random, so they say nothing about the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating]  # h x w, float32 in practice

TAU = 2 * np.pi


class Kind(NamedTuple):
    """A class of objects."""

    name: str
    shape: Callable[[Plane, Plane], Plane]
    texture: Callable[[Plane, Plane, float], Plane]


def stripes(phase: Plane, sharpness: float = 3.0) -> Plane:
    """Bands with soft edges, one dark and one light for each unit of `phase`."""
    return np.clip(0.5 + sharpness * 0.5 * np.sin(np.float32(TAU) * phase), 0, 1)


def dots(x: Plane, y: Plane, radius: float = 0.3) -> Plane:
    """Spots on a square lattice of unit spacing, every second row shifted by a half."""
    row = np.floor(y)
    across = x + 0.5 * (row % 2)
    distance = np.hypot(across - np.floor(across) - 0.5, y - row - 0.5)
    return np.clip(0.5 + 8 * (radius - distance), 0, 1)


def ball(u: Plane, v: Plane) -> Plane:
    return 0.85 - np.hypot(u, v)


def meridians(u: Plane, v: Plane, repeats: float) -> Plane:
    longitude = np.arcsin(np.clip(u / np.sqrt(np.maximum(0.75 - v * v, 0.02)), -1, 1))
    return stripes(longitude * np.float32(repeats * 0.8))


def brick(u: Plane, v: Plane) -> Plane:
    return np.minimum(0.92 - np.abs(u), 0.5 - np.abs(v))


def masonry(u: Plane, v: Plane, repeats: float) -> Plane:
    y = v * np.float32(4.2 * repeats)
    row = np.floor(y)
    x = u * np.float32(1.9 * repeats) + 0.5 * (row % 2)
    joint = np.minimum(np.minimum(y - row, row + 1 - y), 2 * np.minimum(x - np.floor(x), np.floor(x) + 1 - x))
    return np.clip(1.5 - 8 * joint, 0, 1)


def crescent(u: Plane, v: Plane) -> Plane:
    return np.minimum(0.92 - np.hypot(u, v), np.hypot(u - 0.5, v) - 0.68)


def craters(u: Plane, v: Plane, repeats: float) -> Plane:
    x, y = u * np.float32(3.6 * repeats), v * np.float32(3.6 * repeats)
    row = np.floor(y)
    across = x + 0.5 * (row % 2)
    distance = np.hypot(across - np.floor(across) - 0.5, y - row - 0.5)
    return np.clip(1 - 7 * np.abs(distance - 0.3), 0, 1)


def fish(u: Plane, v: Plane) -> Plane:
    body = 0.42 * (1 - np.hypot((u - 0.22) / 0.7, v / 0.42))
    tail = np.minimum(u + 0.95, 0.7 * (-0.25 - u) - np.abs(v))
    return np.maximum(body, tail)


def scales(u: Plane, v: Plane, repeats: float) -> Plane:
    x, y = u * np.float32(4.5 * repeats), v * np.float32(4.5 * repeats)
    column = np.floor(x)
    along = y + 0.5 * (column % 2)
    return np.clip(4 * (np.hypot(x - column, along - np.floor(along) - 0.5) - 0.55), 0, 1)


def flower(u: Plane, v: Plane) -> Plane:
    return 0.68 + 0.24 * np.cos(6 * np.arctan2(v, u)) - np.hypot(u, v)


def petals(u: Plane, v: Plane, repeats: float) -> Plane:
    radius = np.hypot(u, v)
    heart = np.clip(0.5 + 12 * (0.26 - radius), 0, 1)
    seams = np.clip(0.9 - 5 * radius * np.abs(np.cos(3 * np.arctan2(v, u))) / np.float32(repeats), 0, 1)
    return np.maximum(heart, seams)


def gear(u: Plane, v: Plane) -> Plane:
    radius = np.hypot(u, v)
    rim = 0.78 + 0.14 * np.clip(2.5 * np.cos(9 * np.arctan2(v, u)), -1, 1) - radius
    return np.minimum(rim, radius - 0.24)


def turned(u: Plane, v: Plane, repeats: float) -> Plane:
    return stripes(np.hypot(u, v) * np.float32(5.5 * repeats), 1.2)


def leaf(u: Plane, v: Plane) -> Plane:
    return 1.15 - np.hypot(u, np.abs(v) + 0.68)


def veins(u: Plane, v: Plane, repeats: float) -> Plane:
    midrib = np.clip(1.3 - 16 * np.abs(v), 0, 1)
    phase = (u - 0.9 * np.abs(v)) * np.float32(3.8 * repeats)
    return np.maximum(midrib, np.clip(1.2 - 6 * np.abs(phase - np.rint(phase)), 0, 1))


def mushroom(u: Plane, v: Plane) -> Plane:
    cap = np.minimum(0.65 * (1 - np.hypot(u / 0.9, (v - 0.05) / 0.85)), 0.08 - v)
    stem = np.minimum(0.24 + 0.06 * v - np.abs(u), 0.88 - v)
    return np.maximum(cap, np.minimum(stem, v + 0.1))


def polka(u: Plane, v: Plane, repeats: float) -> Plane:
    spots = dots(u * np.float32(2.6 * repeats), v * np.float32(2.6 * repeats))
    return np.where(v < 0.08, spots, np.float32(0.85))


def ring(u: Plane, v: Plane) -> Plane:
    return 0.24 - np.abs(np.hypot(u, v) - 0.66)


def sectors(u: Plane, v: Plane, repeats: float) -> Plane:
    return stripes(np.arctan2(v, u) * np.float32(round(4 * repeats) / TAU), 6)


def star(u: Plane, v: Plane) -> Plane:
    fifth = np.float32(TAU / 5)
    angle = np.arctan2(u, -v)
    folded = np.abs(angle - fifth * np.rint(angle / fifth))
    radius = np.hypot(u, v)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    return 0.5 * (0.98 - x) - 0.86 * y  # the edge from a point of the star to the notch beside it


def facets(u: Plane, v: Plane, repeats: float) -> Plane:
    turn = np.arctan2(u, -v) * np.float32(5 / TAU)
    lit = np.clip(0.5 + 8 * (turn - np.rint(turn)), 0, 1)
    return np.clip(lit + 0.35 * stripes(np.hypot(u, v) * np.float32(3 * repeats)) - 0.15, 0, 1)


KINDS = (
    Kind("ball", ball, meridians),
    Kind("brick", brick, masonry),
    Kind("crescent", crescent, craters),
    Kind("fish", fish, scales),
    Kind("flower", flower, petals),
    Kind("gear", gear, turned),
    Kind("leaf", leaf, veins),
    Kind("mushroom", mushroom, polka),
    Kind("ring", ring, sectors),
    Kind("star", star, facets),
)
CLASSES = tuple(kind.name for kind in KINDS)
