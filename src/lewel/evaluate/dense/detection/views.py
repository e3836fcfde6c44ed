"""Images and objects as a detector sees them: resized by the shorter side, half of those for training flipped.

Sizes are those of detectron2's ResizeShortestEdge: the shorter side gets the length that is wanted unless the longer
one would be too long; both are then rounded. Pixels are Pillow's bilinear ones; boxes and polygons move with the ratio
of the rounded side to the original one, each axis with its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from PIL import Image
from PIL.Image import Resampling

from lewel.evaluate.dense.detection.objects import Objects
from lewel.evaluate.dense.loading import Example
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.dense.truth.objects import Annotated, clipped
from lewel.evaluate.dense.truth.outlines import Outline, rasterised

Size = tuple[int, int]  # width, height
LEAST = 1e-5  # pixels: a box with a side below has no area


@dataclass(frozen=True)
class TrainView:
    """The shorter side is one of `shortest`, the longer one at most `longest`; half of the images are flipped.

    Crowds are no targets; difficult objects are, as in detectron2.
    """

    shortest: tuple[int, ...]
    longest: int

    @classmethod
    def of(cls, task: Detection, image_size: int) -> TrainView:
        return cls(tuple(round(share * image_size) for share in task.shortest), round(task.longest * image_size))

    def __call__(self, raw: tuple[Image.Image, Annotated], rng: np.random.Generator) -> Example:
        image, truth = raw
        size = resized(image.size, self.shortest[rng.integers(len(self.shortest))], self.longest)
        flip = bool(rng.integers(2))
        return Example(pixels(image, size, flip), targets(truth, size, flip))


@dataclass(frozen=True)
class TestView:
    """The shorter side is `shortest`, the longer one at most `longest`. Without a target: see `found`."""

    __test__ = False  # no test of pytest's

    shortest: int
    longest: int

    @classmethod
    def of(cls, task: Detection, image_size: int) -> TestView:
        return cls(image_size, round(task.longest * image_size))

    def __call__(self, raw: tuple[Image.Image, Annotated], rng: np.random.Generator) -> Example:
        image, _ = raw
        return Example(pixels(image, resized(image.size, self.shortest, self.longest), flip=False), None)


def resized(size: Size, shortest: int, longest: int) -> Size:
    """The shorter side `shortest`, or less where the other would be longer than `longest`; both rounded, halves up."""
    scale = shortest / min(size)
    width, height = scale * size[0], scale * size[1]
    if (longer := max(width, height)) > longest:
        width, height = width * (longest / longer), height * (longest / longer)
    return max(1, int(width + 0.5)), max(1, int(height + 0.5))


def pixels(image: Image.Image, size: Size, flip: bool) -> torch.Tensor:
    """(3, h, w) uint8."""
    array = np.asarray(image.resize(size, Resampling.BILINEAR))
    return torch.from_numpy(np.ascontiguousarray((array[:, ::-1] if flip else array).transpose(2, 0, 1)))


def targets(truth: Annotated, size: Size, flip: bool) -> Objects:
    """What is to be learned of an image that has this size now. Boxes that have no area any more are left out."""
    boxes = moved(truth.boxes, truth.size, size, flip)
    kept = np.flatnonzero(~truth.crowd & ((boxes[:, 2:] - boxes[:, :2]) > LEAST).all(axis=1))
    masks = None
    if truth.outlines is not None:
        drawn = [_drawn(truth.outlines[place], truth.size, size) for place in kept]
        stacked = np.stack(drawn) if drawn else np.zeros((0, size[1], size[0]), bool)
        masks = torch.from_numpy(np.ascontiguousarray(stacked[:, :, ::-1] if flip else stacked))
    return Objects(torch.from_numpy(boxes[kept]).float(), torch.from_numpy(truth.labels[kept]), masks)


def moved(boxes: Float64[np.ndarray, "k 4"], old: Size, new: Size, flip: bool = False) -> Float64[np.ndarray, "k 4"]:
    """Boxes of an image of one size, where they are in the other, inside it."""
    found = clipped(boxes * np.array([new[0] / old[0], new[1] / old[1]] * 2), new)
    if flip:
        found[:, [0, 2]] = new[0] - found[:, [2, 0]]
    return found


def _drawn(outline: Outline, old: Size, new: Size) -> Bool[np.ndarray, "h w"]:
    """Polygons are drawn at the new size; run lengths have pixels only, the nearest are taken."""
    if not isinstance(outline, dict):
        ratio = np.array([new[0] / old[0], new[1] / old[1]])
        scaled = tuple((polygon.reshape(-1, 2) * ratio).reshape(-1) for polygon in outline)
        return rasterised([scaled], new[1], new[0])[0]
    mask = Image.fromarray(rasterised([outline], old[1], old[0])[0].astype(np.uint8))
    return np.asarray(mask.resize(new, Resampling.NEAREST)) > 0
