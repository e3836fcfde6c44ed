"""What the network sees of a face: the square around its points; in training moved, turned, mirrored and made worse.

square        around the points' box, so that where a face is and how large is given, as is usual for 300W
moved         rotation, scale and shift are normal draws, at most `LARGEST` deviations large
mirrored      where it is known which point is which in the mirrored face
gray          without colours
gamma         each value v of 0 to 1 becomes v ** g, g log-uniform in `GAMMA`
blur          Gaussian, its sigma uniform up to `BLUR` of the side
occlusion     a rectangle of one random colour, sides uniform in `OCCLUSION` of the side, anywhere
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lewel.evaluate.dense.landmarks.geometry import AS_IT_IS, Change, cut, inverse, mirrored, moved, square
from lewel.evaluate.dense.loading import Example
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import Face

LARGEST = 2.0  # deviations
GAMMA = (0.5, 2.0)
BLUR = 0.01
OCCLUSION = (0.1, 0.4)


class Points(NamedTuple):
    """Target of a face: x and y in pixels of the example, the first one from 0 0 to 1 1; NaN where it is hidden."""

    xy: Float[Tensor, "k 2"]


class Worsening(NamedTuple):
    """gamma: exponent, 1 for none.  blur: sigma as a share of the side, 0 for none.

    occlusion: x0 y0 x1 y1 as shares of the side, and its colour.
    """

    gray: bool
    gamma: float
    blur: float
    occlusion: tuple[tuple[float, float, float, float], tuple[int, int, int]] | None


@dataclass(frozen=True)
class PlainView:
    """The square, as it is. Draws nothing."""

    task: Landmarks
    size: int

    def __call__(self, face: Face, rng: np.random.Generator) -> Example:
        return _example(*_seen(face, self.task.margin, self.size, AS_IT_IS))


@dataclass(frozen=True)
class ChangedView:
    """The square, changed by random numbers."""

    task: Landmarks
    size: int

    def __call__(self, face: Face, rng: np.random.Generator) -> Example:
        change = draw_change(self.task, mirrored(len(face.points)) is not None, rng)
        image, points = _seen(face, self.task.margin, self.size, change)
        return _example(worse(image, draw_worsening(self.task, rng)), points)


def draw_change(task: Landmarks, may_flip: bool, rng: np.random.Generator) -> Change:
    rotation, scale, right, down = rng.standard_normal(4).clip(-LARGEST, LARGEST).tolist()
    flip = rng.random() < task.flip
    return Change(
        task.rotation * rotation, 1 + task.scale * scale, (task.shift * right, task.shift * down), may_flip and flip
    )


def draw_worsening(task: Landmarks, rng: np.random.Generator) -> Worsening:
    """All numbers are drawn, those of what is not done too: each has its place, whatever the others are."""
    gray, gamma, blur, occlusion, exponent, sigma, width, height, x, y = rng.random(10).tolist()
    red, green, blue = rng.integers(0, 256, 3).tolist()
    low, high = (math.log(limit) for limit in GAMMA)
    half = [(OCCLUSION[0] + (OCCLUSION[1] - OCCLUSION[0]) * each) / 2 for each in (width, height)]
    box = (x - half[0], y - half[1], x + half[0], y + half[1])
    return Worsening(
        gray < task.gray,
        math.exp(low + (high - low) * exponent) if gamma < task.gamma else 1.0,
        BLUR * sigma if blur < task.blur else 0.0,
        (box, (red, green, blue)) if occlusion < task.occlusion else None,
    )


def worse(image: Image.Image, how: Worsening) -> Image.Image:
    if how.gray:
        image = image.convert("L").convert("RGB")
    if how.gamma != 1:
        table = [round(255 * (value / 255) ** how.gamma) for value in range(256)]
        image = image.point(table * 3)
    if how.blur:
        image = image.filter(ImageFilter.GaussianBlur(how.blur * image.width))
    if how.occlusion is not None:
        box, colour = how.occlusion
        image = image.copy()
        ImageDraw.Draw(image).rectangle([image.width * share for share in box], fill=colour)
    return image


def _seen(face: Face, margin: float, size: int, change: Change) -> Face:
    """The square, with the points in its pixels."""
    affine = square(face.points, margin, size, change)
    image = cut(face.image, affine, size)
    points = moved(face.points, inverse(affine))
    if change.flip:
        points = points[mirrored(len(points))]
    return Face(image, points)


def _example(image: Image.Image, points: np.ndarray) -> Example:
    return Example(pil_to_tensor(image), Points(torch.from_numpy(points).float()))
