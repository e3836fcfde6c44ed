"""Anchors as the protocols have them: not rounded, a fixed number of pixels apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

RATIOS = (0.5, 1.0, 2.0)  # height / width
SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)  # square root of the area, in pixels of images of 800 on the shorter side


class Anchors(AnchorGenerator):
    """Of each map its anchors, of every size and ratio, around the positions' upper left pixel.

    sizes: of each map, in pixels.  strides: pixels between the positions of each map.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], strides: Sequence[int]):
        super().__init__(tuple(map(tuple, sizes)), (RATIOS,) * len(sizes))
        self.strides = tuple(strides)

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> Tensor:
        """(ratios x sizes, 4) around 0, not rounded."""
        return (
            torch.tensor(
                [
                    (-size / ratio**0.5, -size * ratio**0.5, size / ratio**0.5, size * ratio**0.5)
                    for ratio in aspect_ratios
                    for size in scales
                ],
                dtype=dtype,
                device=device,
            )
            / 2
        )

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """(anchors of all maps, 4) float32, the same for every image."""
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        grids = [list(each.shape[-2:]) for each in feature_maps]
        strides = [[torch.tensor(stride, device=feature_maps[0].device)] * 2 for stride in self.strides]
        return [torch.cat(self.grid_anchors(grids, strides))] * len(image_list.image_sizes)
