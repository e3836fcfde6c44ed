"""Where maps point, against the objects of an image.

Maps are m x h x w, a grid of cells over the image; objects are r x r pixels of the same square, finer than the cells.
A pixel that is not `counted` (VOC's outlines) is neither object nor background.

    pointing   share of object in the map's largest cell: how likely a point drawn there lies on an object. Of a map
               that points anywhere it is the objects' share of the image. The pointing game (Zhang et al. 2016),
               without its margin, which small images do not need
    iou        of an object and as many of the map's highest pixels as the object has, the map drawn bilinear. Of as
               many pixels drawn at random it is a / (2 - a) for an object of share a. The number of pixels is the
               truth's: near-uniform maps have no threshold of their own, and so every kind of map has the same chance
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn import functional


def cell_shares(objects: Bool[Tensor, "r r"], counted: Bool[Tensor, "r r"], h: int, w: int) -> Float[Tensor, "h w"]:
    """Share of object in each cell; in a cell with nothing to count, that of the whole image."""
    stacked = torch.stack([objects & counted, counted]).float()
    inside, there = functional.adaptive_avg_pool2d(stacked, (h, w))
    whole = stacked[0].sum() / stacked[1].sum().clamp_min(1)
    return torch.where(there > 0, inside / there.clamp_min(1e-12), whole)


def pointing(maps: Float[Tensor, "m h w"], shares: Float[Tensor, "h w"]) -> Float[Tensor, " m"]:
    """Of each map; where several cells are the largest, their mean."""
    flat = maps.flatten(1)
    largest = (flat == flat.amax(dim=1, keepdim=True)).float()
    return (largest @ shares.flatten()) / largest.sum(dim=1)


def sharpest(maps: Float[Tensor, "m h w"]) -> int:
    """The map of the lowest entropy: the one that says most about where, chosen without a look at the objects."""
    return int(torch.special.entr(maps.flatten(1)).sum(dim=1).argmin())


def iou(
    maps: Float[Tensor, "m h w"], objects: Bool[Tensor, "k r r"], counted: Bool[Tensor, "r r"]
) -> Float[Tensor, "m k"]:
    """Of every map with every object."""
    drawn = functional.interpolate(maps[None], counted.shape, mode="bilinear", align_corners=False)[0]
    drawn = drawn.masked_fill(~counted, -math.inf).flatten(1)
    hits = (objects & counted).flatten(1)[:, drawn.argsort(dim=1, descending=True, stable=True)]  # k m r*r
    sizes = (objects & counted).flatten(1).sum(dim=1)
    common = torch.stack([hit[:, :size].sum(dim=1) for hit, size in zip(hits, sizes.tolist(), strict=True)], dim=1)
    return common / (2 * sizes - common)


def chance_iou(areas: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Of objects with these shares of the image, and as many pixels drawn at random."""
    return areas / (2 - areas)


def chosen(values: Float64[np.ndarray, "n m"]) -> tuple[Float64[np.ndarray, " n"], tuple[int, int]]:
    """The value of one map in every image: the best of the images with odd numbers for the even ones, and vice versa.

    Returns the two maps too, that for the even images first.
    """
    odd = np.arange(len(values)) % 2 == 1
    for_even, for_odd = int(values[odd].mean(axis=0).argmax()), int(values[~odd].mean(axis=0).argmax())
    return np.where(odd, values[:, for_odd], values[:, for_even]), (for_even, for_odd)
