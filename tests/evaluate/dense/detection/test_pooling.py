"""Features of regions: exact on a slope, each from its level."""

from __future__ import annotations

import torch

from lewel.evaluate.dense.detection.pooling import level, pooled


def slope(height: int, width: int, stride: int) -> torch.Tensor:
    """A map of two channels that say where, in pixels, the centre of each position is: x, y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((torch.stack([x, y])[None] + 0.5) * stride).float()


def test_aligned_pooling_says_where_each_bin_is() -> None:
    """Bilinear sampling is exact on a slope: a bin's mean is its centre. Without alignment all is 4 pixels off."""
    box = torch.tensor([[21.0, 18.0, 49.0, 60.0]])
    found = pooled([slope(12, 10, 8)], [8], [box], 7)[0]
    x, y = 21 + (torch.arange(7) + 0.5) * 4, 18 + (torch.arange(7) + 0.5) * 6
    assert torch.allclose(found[0], x.expand(7, 7), atol=1e-4)
    assert torch.allclose(found[1], y[:, None].expand(7, 7), atol=1e-4)


def test_levels_by_hand() -> None:
    """224 is level 4, and each level has twice the side of the one before; 2 and 5 take the rest."""
    sides = torch.tensor([10.0, 111, 113, 223, 225, 447, 449, 900])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    assert level(boxes, 224.0, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert level(boxes / 8, 28.0, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    wide = torch.tensor([[0.0, 0, 448, 112]])  # area 224 squared
    assert level(wide, 224.0, 4).tolist() == [2]


def test_regions_come_from_their_level_and_image_in_their_order() -> None:
    maps = [torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 64 // 2**n, 64 // 2**n) + 10 * n for n in range(4)]
    sides = ([20.0, 120.0, 60.0, 200.0], [250.0, 10.0])
    boxes = [torch.tensor([[0, 0, side, side] for side in each]) for each in sides]
    found = pooled(maps, [4, 8, 16, 32], boxes, 2, canonical=112.0)
    assert found[:, 0, 0, 0].tolist() == [0, 20, 10, 20, 31, 1]


def test_gradients_reach_every_map_in_any_precision() -> None:
    maps = [torch.randn(1, 3, 32 // 2**n, 32 // 2**n, dtype=torch.bfloat16, requires_grad=True) for n in range(2)]
    boxes = [torch.tensor([[0.0, 0, 20, 20], [0, 0, 100, 100]])]
    with torch.autocast("cpu", torch.bfloat16):
        found = pooled(maps, [4, 8], boxes, 2, canonical=200.0)
    assert found.dtype == torch.float32
    found.sum().backward()
    assert all(each.grad is not None and each.grad.any() for each in maps)
