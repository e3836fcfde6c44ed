"""Which rows of two views are compared: weights over (row of the view that predicts, row of the other one).

The weights of an image sum to 1 over all its pairs, or to 0 where it has none.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lewel.model.maps import at_least_fp32
from lewel.shapes import Embeddings, View


class Match(nn.Module):
    """Each position with the position of the other view whose features are most alike: DenseCL.

    The pairs (i, j) where j has the largest cosine of the encoders' features with i, the first of several.
    """

    @torch.no_grad()
    def forward(self, mine: Embeddings, other: Embeddings, *views: View) -> Float[Tensor, "b n m"]:
        one, two = (functional.normalize(at_least_fp32(each.features.tokens), dim=2) for each in (mine, other))
        nearest = (one @ two.transpose(1, 2)).argmax(dim=2)
        return functional.one_hot(nearest, two.shape[1]).to(one.dtype) / one.shape[1]


class Overlap(nn.Module):
    """Positions that lie near each other in the image: PixPro.

    The pairs whose cells' centres are nearer than `distance` times the larger of the two cells' diagonals. Lengths are
    shares of the image's width and height, from the first pixel to the last; a mirrored view's cells run backwards.
    """

    def __init__(self, distance: float):
        super().__init__()
        self.distance = distance

    @torch.no_grad()
    def forward(self, mine: Embeddings, other: Embeddings, *views: View) -> Float[Tensor, "b n m"]:
        (one, first), (two, second) = (
            _cells(view, each.features.size, at_least_fp32(each.features.tokens[:0]).dtype)
            for view, each in zip(views, (mine, other), strict=True)
        )
        near = torch.cdist(one, two) < self.distance * torch.maximum(first, second)[:, None, None]
        pairs = near.to(one.dtype)
        return pairs / (pairs.sum(dim=(1, 2), keepdim=True) + 1e-6)


def _cells(view: View, size: tuple[int, int], dtype: torch.dtype) -> tuple[Float[Tensor, "b p 2"], Float[Tensor, " b"]]:
    """Centres (x, y) of a view's cells in its image, row by row, and the length of a cell's diagonal."""
    assert view.geometry is not None
    left, top, width, height, full_width, full_height, flip, turned = view.geometry.to(dtype).unbind(dim=1)
    x = torch.stack([left, left + width - 1]) / (full_width - 1)
    y = torch.stack([top, top + height - 1]) / (full_height - 1)
    (x0, x1), (y0, y1) = torch.where(flip > 0, x.flip(0), x), torch.where(turned > 0, y.flip(0), y)
    rows, columns = (torch.arange(n, device=left.device, dtype=dtype) + 0.5 for n in size)
    across, down = (x1 - x0) / size[1], (y1 - y0) / size[0]
    xs, ys = x0[:, None] + across[:, None] * columns, y0[:, None] + down[:, None] * rows
    b, h, w = len(xs), *size
    centres = torch.stack([xs[:, None].expand(b, h, w), ys[:, :, None].expand(b, h, w)], dim=3)
    return centres.flatten(1, 2), torch.hypot(across, down)
