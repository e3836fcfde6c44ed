"""Do the maps of two views look at the same things? Their correlation over what both views show, crops undone."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lewel.data.augment import Parameters

Box = tuple[float, float, float, float]


def overlap(one: Parameters, other: Parameters, least: float) -> Box | None:
    """What both crops show, x0 y0 x1 y1 as shares of the image.

    None below `least` of the smaller crop's area, and for views that are rotated, whose crops are no boxes.
    """
    if one.rotation or other.rotation:
        return None
    first, second = np.array(one.box()), np.array(other.box())
    x0, y0 = np.maximum(first[:2], second[:2]).tolist()
    x1, y1 = np.minimum(first[2:], second[2:]).tolist()
    smaller = min(float((box[2] - box[0]) * (box[3] - box[1])) for box in (first, second))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 and (x1 - x0) * (y1 - y0) >= least * smaller else None


def correlation(
    first: Float[Tensor, "m h w"],
    second: Float[Tensor, "m h w"],
    one: Parameters,
    other: Parameters,
    shared: Box,
    points: int,
) -> float:
    """Pearson's, of each map with itself in the other view, over points x points in `shared`; the mean over the maps.

    first, second: maps of the views that `one` and `other` made; shared: their `overlap`. Not a number where no map
    varies.
    """
    found = [_at(maps, view, shared, points) for maps, view in ((first, one), (second, other))]
    centred = [values - values.mean(dim=1, keepdim=True) for values in found]
    spread = torch.stack([values.norm(dim=1) for values in centred]).prod(dim=0)
    varying = spread > 0
    return float(((centred[0] * centred[1]).sum(dim=1)[varying] / spread[varying]).mean())


def _at(maps: Float[Tensor, "m h w"], view: Parameters, shared: Box, points: int) -> Float[Tensor, "m places"]:
    """The maps, bilinear, at points spread over `shared`, a box of the image that the view was cut from."""
    x0, y0, x1, y1 = shared
    left, top, right, bottom = view.box()
    steps = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    across = (x0 + (x1 - x0) * steps - left) / (right - left) * 2 - 1
    down = (y0 + (y1 - y0) * steps - top) / (bottom - top) * 2 - 1
    across = -across if view.flip else across
    down = -down if view.vertical_flip else down
    grid = torch.stack([across.expand(points, points), down[:, None].expand(points, points)], dim=-1)
    found = functional.grid_sample(maps[None].double(), grid[None], padding_mode="border", align_corners=False)
    return found[0].flatten(1)
