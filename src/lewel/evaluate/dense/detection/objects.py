"""What is to be found in an image, and what was."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


class Objects(NamedTuple):
    """The truth of an image of h x w pixels. k may be 0; boxes are x0 y0 x1 y1 in pixels and not empty."""

    boxes: Float[Tensor, "k 4"]
    labels: Int[Tensor, " k"]  # 0 to classes - 1
    masks: Bool[Tensor, "k h w"] | None = None


class Detections(NamedTuple):
    """What a model finds in an image, the surest first, in its pixels."""

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int[Tensor, " m"]
    masks: Float[Tensor, "m side side"] | None = None  # probabilities over the box; `pasted` puts them into the image


def pasted(
    masks: Float[Tensor, "m side side"], boxes: Float[Tensor, "m 4"], height: int, width: int
) -> Bool[Tensor, "m {height} {width}"]:
    """Masks over their boxes as masks of the image: where they are at least one half at a pixel's centre.

    Between the masks' values, and the 0 around them, it is bilinear, so that corners of large boxes are rounded.
    """
    found = masks.new_zeros(len(masks), height, width, dtype=torch.bool)
    for image, mask, box in zip(found, masks, boxes, strict=True):
        x0, y0, x1, y1 = box.tolist()
        rows = slice(min(max(math.floor(y0), 0), height), max(min(math.ceil(y1), height), 0))
        columns = slice(min(max(math.floor(x0), 0), width), max(min(math.ceil(x1), width), 0))
        inside = image[rows, columns]
        if inside.numel():
            places = (_places(rows, y0, y1, mask), _places(columns, x0, x1, mask))
            grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], dim=-1)
            inside.copy_(functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0] >= 0.5)
    return found


def _places(pixels: slice, start: float, end: float, like: Tensor) -> Tensor:
    """Where the pixels' centres are between start, -1, and end, 1."""
    centres = torch.arange(pixels.start, pixels.stop, dtype=like.dtype, device=like.device) + 0.5
    return (centres - start) / (end - start) * 2 - 1
