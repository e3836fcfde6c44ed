"""Anchors against numbers written by hand."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from lewel.evaluate.dense.detection.anchors import SIZES, Anchors


def of(anchors: Anchors, shape: tuple[int, int], grids: list[tuple[int, int]]) -> torch.Tensor:
    images = ImageList(torch.zeros(1, 3, *shape), [shape])
    return anchors(images, [torch.zeros(1, 1, *grid, dtype=torch.bfloat16) for grid in grids])[0]


def test_anchors_of_one_position() -> None:
    """Ratios 1/2, 1 and 2 of height to width, area 32 squared and not rounded: 32 * sqrt(2) = 45.2548."""
    found = of(Anchors([[32.0]], [16]), (16, 16), [(1, 1)])
    right = [[-22.6274, -11.3137, 22.6274, 11.3137], [-16, -16, 16, 16], [-11.3137, -22.6274, 11.3137, 22.6274]]
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.tensor(right), atol=1e-4)


def test_anchors_follow_positions_by_the_encoders_stride() -> None:
    """50 rows of pixels make 4 positions at stride 16; 50 // 4 = 12 is what torchvision would take."""
    found = of(Anchors([[32.0]], [16]), (50, 33), [(4, 3)]).reshape(4, 3, 3, 4)
    centres = (found[..., :2] + found[..., 2:]) / 2
    assert torch.allclose(centres[3, 2], torch.tensor([32.0, 48.0]), atol=1e-5)
    assert torch.allclose(centres[1, 0], torch.tensor([0.0, 16.0]), atol=1e-5)


def test_anchors_of_c4_and_of_fpn() -> None:
    c4 = Anchors([SIZES], [16])
    assert c4.num_anchors_per_location() == [15]
    areas = torch.sort((of(c4, (16, 16), [(1, 1)]).reshape(15, 2, 2).diff(dim=1)[:, 0]).prod(dim=1)).values
    assert areas.tolist() == pytest.approx([size**2 for size in SIZES for _ in range(3)], rel=1e-5)
    fpn = Anchors([[size] for size in SIZES], [4, 8, 16, 32, 64])
    assert len(of(fpn, (64, 64), [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)])) == 3 * (256 + 64 + 16 + 4 + 1)
