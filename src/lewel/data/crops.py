"""Crop, resize and mirror a whole batch of images of one size on any device, with Pillow's arithmetic.

Pillow's 8-bit resize weighs the pixels below a triangle with 22-bit fixed-point numbers, along the rows, rounded to
8 bits, then along the columns. The weights depend on nothing but the crop's side and the output's, both whole numbers:
they are worked out once for every side, and a batch only looks them up. The sums fit into 32-bit integers, so that
every device has the same.

Crops that are not larger than the output are Pillow's bit for bit. Of a larger one, Pillow 13 may do the columns first
where that is less work, and then single values differ by a level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int32, UInt8
from torch import Tensor

from lewel.data.packed import packed

PRECISION_BITS = 22


class Filters(NamedTuple):
    """What each pixel of the output is made of, for crops of 1 .. s pixels a side, then the same mirrored.

    positions: of the pixels, within the crop. weights: theirs, 2**22 together.
    """

    positions: Int[Tensor, "2*s side taps"]
    weights: Int[Tensor, "2*s side taps"]

    def rows(self, sides: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """Which filter crops of these sides need."""
        return sides - 1 + mirrored * (len(self.weights) // 2)


def filters(largest: int, side: int, device: torch.device) -> Filters:
    """largest: of the crops' sides, the images' longer one. side: of the output. In pixels."""
    made = [_filter(crop, side, largest) for crop in range(1, largest + 1)]
    positions, weights = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return Filters(*(torch.cat([part, part.flip(1)]).to(device) for part in (positions, weights)))


def _filter(crop: int, side: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """(side, taps) positions and weights, by Pillow's operations in their order; taps not used weigh nothing."""
    scale = crop / side
    support = max(scale, 1.0)
    centres = (np.arange(side) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + support + 0.5).astype(np.int64), crop)
    taps = first[:, None] + np.arange(_most_taps(largest, side))
    triangle = (1 - np.abs((taps - centres[:, None] + 0.5) * (1 / support))).clip(0)
    triangle[taps >= end[:, None]] = 0
    share = triangle / triangle.cumsum(axis=1)[:, -1:]  # one after the other, where sum() would add in pairs
    weights = (0.5 + share * 2**PRECISION_BITS).astype(np.int32)
    return taps.clip(max=crop - 1), weights


def _most_taps(largest: int, side: int) -> int:
    return -(-2 * max(largest, side) // side)


def resized(
    columns: UInt8[Tensor, "n w 3 h"], geometry: Int[Tensor, "b 5"], filters: Filters
) -> Int32[Tensor, "b side side"]:
    """The b crops, resized and mirrored, as packed pixels.

    columns: the images, column by column. geometry: image, left, filter along the row, top, filter along the column.
    """
    n, w, _, h = columns.shape
    b, side = len(geometry), filters.weights.shape[1]
    image, left, across, top, down = geometry.unbind(1)
    wanted = filters.positions[across] + (image * w + left)[:, None, None]
    narrow = _weighted(columns.view(n * w, 3 * h), wanted, filters.weights[across])
    rows = narrow.view(b, side, 3, h).permute(0, 2, 3, 1).reshape(b * 3 * h, side)
    plane = torch.arange(b * 3, device=columns.device).view(b, 3, 1, 1) * h
    wanted = filters.positions[down][:, None] + top[:, None, None, None] + plane
    square = _weighted(rows, wanted, filters.weights[down][:, None].expand_as(wanted)).view(b, 3, side, side)
    return packed(*square.to(torch.int32).unbind(1))


def _weighted(
    lines: UInt8[Tensor, "lines length"], wanted: Int[Tensor, "*out taps"], weights: Int[Tensor, "*out taps"]
) -> UInt8[Tensor, "made length"]:
    """Weighted sums of lines, rounded to 8 bits."""
    total: Tensor | int = 1 << (PRECISION_BITS - 1)
    for tap in range(wanted.shape[-1]):
        chosen = lines.index_select(0, wanted[..., tap].reshape(-1))
        total = chosen.to(torch.int32) * weights[..., tap].reshape(-1, 1) + total
    assert isinstance(total, Tensor)
    return (total >> PRECISION_BITS).to(torch.uint8)


@cache
def operation(compiled: bool) -> Callable[[Tensor, Tensor, Filters], Tensor]:
    """`resized`, or the same by torch.compile."""
    return torch.compile(resized) if compiled else resized
