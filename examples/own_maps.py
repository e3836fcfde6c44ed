"""Maps of one's own, in a file of one's own: soft columns in the place of LEWEL's learned maps.

    lewel pretrain examples/own_maps.py:striped --data images --out striped
    lewel maps --run striped --data images

A kind of maps is a frozen dataclass, which checks its values and builds its module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

import lewel
from lewel.checked import AboveZero, Positive
from lewel.shapes import Features
from lewel.terms import Maps


@dataclass(frozen=True)
class Stripes(Maps):
    """Soft columns, sharper where the features are large.

    columns: m, the number of maps.  sharpness: of their edges.
    """

    columns: Positive = 2
    sharpness: AboveZero = 1.0

    def count(self, size: tuple[int, int] | None, dims: Mapping[str, int]) -> int:
        return self.columns

    def build(self, width: int) -> nn.Module:
        return StripesModule(self.columns, self.sharpness)


class StripesModule(nn.Module):
    def __init__(self, columns: int, sharpness: float):
        super().__init__()
        self.columns, self.sharpness = columns, sharpness
        self.shift = nn.Parameter(torch.zeros(columns))

    def forward(self, features: Features) -> Float[Tensor, "b m p"]:
        height, width = features.size
        column = torch.arange(width, device=features.tokens.device).repeat(height)
        centre = (torch.arange(self.columns, device=column.device) + 0.5) * width / self.columns + self.shift
        near = -(column[None] + 0.5 - centre[:, None]).square()
        return (self.sharpness * near * features.tokens.float().norm(dim=2)[:, None]).softmax(dim=2)


def striped() -> lewel.Recipe:
    """LEWEL_M for 2 CPU cores, with stripes."""
    recipe = lewel.recipes.lewel_m_tiny()
    whole, aligned = recipe.method.terms
    terms = (whole, replace(aligned, maps=Stripes(groups=1, columns=2)))
    return replace(recipe, name="striped", method=replace(recipe.method, terms=terms))
