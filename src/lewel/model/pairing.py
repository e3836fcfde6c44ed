"""Which rows of two views are compared: weights over (row of the view that predicts, row of the other one)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lewel.model.maps import at_least_fp32
from lewel.shapes import Embeddings


class Match(nn.Module):
    """Each position with the position of the other view whose features are most alike: DenseCL.

    weights[b, i, j] = 1 where j has the largest cosine of the encoders' features with i, the first of several; else 0.
    """

    @torch.no_grad()
    def forward(self, mine: Embeddings, other: Embeddings) -> Float[Tensor, "b n m"]:
        one, two = (functional.normalize(at_least_fp32(each.features.tokens), dim=2) for each in (mine, other))
        nearest = (one @ two.transpose(1, 2)).argmax(dim=2)
        return functional.one_hot(nearest, two.shape[1]).to(one.dtype)
