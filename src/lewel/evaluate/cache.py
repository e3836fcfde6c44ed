"""Features that an earlier job has extracted, for the jobs after it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from lewel.shapes import Skip


class Extracted(NamedTuple):
    """Features, the images that they are of, and those that could not be read."""

    features: Float[Tensor, "n c"]
    images: Int[Tensor, " n"]
    skipped: list[Skip]


class FeatureCache:
    """Of one set of weights at a time: another's features take their place, so that the memory holds no two."""

    def __init__(self) -> None:
        self._weights = ""
        self._found: dict[Hashable, Extracted] = {}

    def get(self, weights: str, of: Hashable, extract: Callable[[], Extracted]) -> Extracted:
        """weights: their digest.  of: the images, by digest, and all that decides the features besides."""
        if weights != self._weights:
            self._found.clear()
            self._weights = weights
        if of not in self._found:
            self._found[of] = extract()
        return self._found[of]
