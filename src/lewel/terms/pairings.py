"""Which rows of two views a term compares.

    kind     row i of the view that predicts is compared with
    Index    row i of the other view
    Match    the position whose features are most alike (DenseCL)

A kind of one's own subclasses `Pairing`, with a `build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lewel.checked import Kind

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Pairing(Kind):
    """Role: the rows that are compared."""

    def build(self) -> nn.Module | None:
        """The module: `module(mine, other)`, two `Embeddings` -> weights (b, n, m); None pairs by index.

        weights[b, i, j]: of row j of the other view in what row i is compared with; they sum to 1 over j.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Index(Pairing):
    def build(self) -> None:
        return None


@dataclass(frozen=True)
class Match(Pairing):
    """For terms with a row a position: Pixel maps."""

    def build(self) -> nn.Module:
        from lewel.model import pairing

        return pairing.Match()
