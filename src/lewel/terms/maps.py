"""Where a term looks: alignment maps that sum to 1 over the p positions.

    kind      maps   made from
    Uniform   1      nothing: 1/p everywhere, global average pooling
    Pixel     p      nothing: one-hot maps, every position is an embedding
    Grid      n      nothing: the box means of a `size` x `size` grid
    Random    d      noise, drawn anew at every forward (Table 6)
    Learned   d      `head`, a projector that does nothing else (Table 5, "w/o coupled head")
    Coupled   d      the projector of the term named `source`: LEWEL

A kind of one's own subclasses `Maps`, with a `count` and a `build`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lewel.checked import AboveZero, Kind, Positive
from lewel.terms.heads import Head

if TYPE_CHECKING:
    from torch import nn

Size = tuple[int, int]


@dataclass(frozen=True)
class Maps(Kind):
    """Role: the maps of a term.

    groups: h of the paper: blocks of channels, each with maps of its own.
    """

    groups: Positive = 1

    def count(self, size: Size | None, dims: Mapping[str, int]) -> int | None:
        """m, the number of maps.

        Args:
            size: h, w of the feature map, or None where they are not known yet.
            dims: embedding size of every term of the method, by name.

        Returns: None where only the size tells, and it is not known.
        Raises: UserError: a size that these maps cannot divide.
        """
        raise NotImplementedError

    def build(self, width: int) -> nn.Module:
        """The module: `module(features)` or, of a kind with a source, `module(features, heat)` -> (b, m, p).

        Args:
            width: channels of the feature map.
        """
        raise NotImplementedError

    @property
    def heat_from(self) -> str | None:
        """The earlier term whose projector's output at each position, (b, p, d), goes to the module too."""
        return None

    @property
    def fixed(self) -> bool:
        """Whether the maps are the same for every image, so that there is nothing to look at."""
        return False


@dataclass(frozen=True)
class Uniform(Maps):
    def count(self, size: Size | None, dims: Mapping[str, int]) -> int:
        return 1

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Uniform()

    @property
    def fixed(self) -> bool:
        return True


@dataclass(frozen=True)
class Pixel(Maps):
    def count(self, size: Size | None, dims: Mapping[str, int]) -> int | None:
        return None if size is None else size[0] * size[1]

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Pixel()

    @property
    def fixed(self) -> bool:
        return True


@dataclass(frozen=True)
class Grid(Maps):
    """size: cells a side."""

    size: Positive = 2

    def count(self, size: Size | None, dims: Mapping[str, int]) -> int:
        if size is not None:
            from lewel.model import maps

            maps.Grid(self.size).check(*size)
        return self.size**2

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Grid(self.size)

    @property
    def fixed(self) -> bool:
        return True


@dataclass(frozen=True)
class Random(Maps):
    """dim: d, the number of maps.  temperature: s in softmax(M / s)."""

    dim: Positive = 128
    temperature: AboveZero = 1.0

    def count(self, size: Size | None, dims: Mapping[str, int]) -> int:
        return self.dim

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Random(self.dim, self.temperature)


@dataclass(frozen=True, kw_only=True)
class Learned(Maps):
    """head: makes the heat-maps.  temperature: s in softmax(M / s)."""

    head: Head
    temperature: AboveZero = 1.0

    def count(self, size: Size | None, dims: Mapping[str, int]) -> int:
        return self.head.out

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Learned(self.head.build(width), self.temperature)


@dataclass(frozen=True)
class Coupled(Maps):
    """source: the term whose projector makes the heat-maps.  temperature: s in softmax(M / s)."""

    source: str = "global"
    temperature: AboveZero = 1.0

    def count(self, size: Size | None, dims: Mapping[str, int]) -> int:
        return dims[self.source]

    def build(self, width: int) -> nn.Module:
        from lewel.model import maps

        return maps.Coupled(self.temperature)

    @property
    def heat_from(self) -> str:
        return self.source
