"""Images and their masks as the network sees them, in mmsegmentation's order: size, crop, flip, colours.

Images are resized by Pillow's bilinear filter, which smooths what it makes smaller; masks take the nearest value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lewel.evaluate.dense.loading import Example
from lewel.evaluate.dense.segmentation.model import Classes
from lewel.evaluate.dense.segmentation.photometric import distorted
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import IGNORED

FLIP = 0.5
TRIES = 10  # draws of a crop that are looked at; the one after them is taken unseen

Raw = tuple[Image.Image, np.ndarray]  # RGB; (h, w) uint8


def fitted(size: tuple[int, int], side: int, frame: tuple[float, float], scale: float = 1.0) -> tuple[int, int]:
    """Width and height of an image of this width and height, as large as fits into the frame times scale."""
    longest, shortest = (int(each * side * scale) for each in frame)
    factor = min(longest / max(size), shortest / min(size))
    width, height = (max(int(each * factor + 0.5), 1) for each in size)
    return width, height


@dataclass(frozen=True)
class CropView:
    """A crop of side x side, or less where the image is smaller; its target is filled up to that with 255."""

    task: Segmentation
    side: int

    def __call__(self, raw: Raw, random: np.random.Generator) -> Example:
        image, mask = raw
        size = fitted(image.size, self.side, self.task.frame, random.uniform(*self.task.scales))
        classes = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        top, left = corner(classes, self.side, self.task.most_of_one, random)
        window = (slice(top, top + self.side), slice(left, left + self.side))
        pixels, classes = np.asarray(image.resize(size, Image.Resampling.BILINEAR))[window], classes[window]
        if random.random() < FLIP:
            pixels, classes = pixels[:, ::-1], classes[:, ::-1]
        if self.task.photometric:
            planes = distorted(pixels.transpose(2, 0, 1).astype(np.float32), random)
            pixels = planes.round().astype(np.uint8).transpose(1, 2, 0)
        target = np.full((self.side, self.side), IGNORED, np.uint8)
        target[: classes.shape[0], : classes.shape[1]] = classes
        return Example(_tensor(pixels), Classes(torch.from_numpy(target)))


@dataclass(frozen=True)
class WholeView:
    """The whole image, resized to the frame; the mask as it is."""

    task: Segmentation
    side: int

    def __call__(self, raw: Raw, random: np.random.Generator) -> Example:
        image, mask = raw
        resized = image.resize(fitted(image.size, self.side, self.task.frame), Image.Resampling.BILINEAR)
        return Example(_tensor(np.asarray(resized)), Classes(torch.from_numpy(mask.copy())))


def corner(
    classes: UInt8[np.ndarray, "h w"], side: int, most_of_one: float, random: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a crop in which no class has the limit's share of what is counted, and two or more have some."""

    def draw() -> tuple[int, int]:
        rows, columns = (max(extent - side, 0) for extent in classes.shape)
        return int(random.integers(rows + 1)), int(random.integers(columns + 1))

    top, left = draw()
    for _ in range(TRIES if most_of_one < 1 else 0):
        window = classes[top : top + side, left : left + side]
        counts = np.bincount(window.reshape(-1), minlength=IGNORED + 1)[:IGNORED]
        if np.count_nonzero(counts) > 1 and counts.max() < most_of_one * counts.sum():
            break
        top, left = draw()
    return top, left


def _tensor(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
