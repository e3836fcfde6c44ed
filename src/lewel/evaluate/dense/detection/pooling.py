"""Features of regions: aligned RoIAlign, from the level that a region's size asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_area, roi_align

CANONICAL = 224.0  # pixels, the square root of the area of a region that belongs to level 4
FIRST_LEVEL, CANONICAL_LEVEL = 2, 4


def pooled(
    maps: Sequence[Float[Tensor, "b c _ _"]],
    strides: Sequence[int],
    boxes: Sequence[Float[Tensor, "_ 4"]],
    side: int,
    canonical: float = CANONICAL,
) -> Float[Tensor, "n c {side} {side}"]:
    """float32 features of all regions, those of the first image first. One map: it has every region."""
    numbered = [torch.cat([each.new_full((len(each), 1), place), each], dim=1) for place, each in enumerate(boxes)]
    regions = torch.cat(numbered).float()
    if len(maps) == 1:
        return roi_align(maps[0].float(), regions, side, 1 / strides[0], sampling_ratio=0, aligned=True)
    places = level(regions[:, 1:], canonical, len(maps))
    found = regions.new_zeros(len(regions), maps[0].shape[1], side, side)
    for place, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        here = torch.where(places == place)[0]
        found[here] = roi_align(features.float(), regions[here], side, 1 / stride, sampling_ratio=0, aligned=True)
    return found


def level(boxes: Float[Tensor, "n 4"], canonical: float, levels: int) -> Int[Tensor, " n"]:
    """The place of each box's map among those of levels 2, 3, ... (Lin et al., 2017, equation 1)."""
    size = box_area(boxes).sqrt() / canonical
    found = torch.floor(CANONICAL_LEVEL + torch.log2(size + 1e-8)) - FIRST_LEVEL
    return found.clamp(0, levels - 1).long()
