"""Which rows of two views a term compares.

    kind     row i of the view that predicts is compared with
    Index    row i of the other view
    Match    the position whose features are most alike (DenseCL)
    Overlap  all positions that lie near it in the image (PixPro)

A kind of one's own subclasses `Pairing`, with a `build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lewel.checked import AboveZero, Kind

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Pairing(Kind):
    """Role: the rows that are compared."""

    def build(self) -> nn.Module | None:
        """The module: `module(mine, other, view, other_view)`, two `Embeddings` and two `View`s -> weights (b, n, m).

        weights[b, i, j]: of the pair of row i and the other view's row j. An image's weights sum to 1, or to 0 where it
        has no pair. None pairs by index.
        """
        raise NotImplementedError

    @property
    def covers(self) -> bool:
        """Whether every row is in a pair."""
        return True

    @property
    def reads_geometry(self) -> bool:
        """Whether the views must carry theirs."""
        return False


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


@dataclass(frozen=True)
class Overlap(Pairing):
    """For terms with a row a position: Pixel maps.

    distance: of two cells' centres, in diagonals of the larger cell.
    """

    distance: AboveZero = 0.7

    def build(self) -> nn.Module:
        from lewel.model import pairing

        return pairing.Overlap(self.distance)

    @property
    def covers(self) -> bool:
        return False

    @property
    def reads_geometry(self) -> bool:
        return True
