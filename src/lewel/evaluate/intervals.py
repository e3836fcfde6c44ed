"""95 % confidence intervals of a metric, and of the difference between two sets of weights.

    images   Bootstrap: as many images are drawn with replacement, `DRAWS` times. A difference is paired: both sets of
             weights are measured on the same draw. Two more images, one at either end of the values, keep few images
             from looking certain: 4 right of 4 are 50 to 100 %.
    seeds    Each draw gets the deviation of the mean over the seeds: their standard deviation / sqrt(seeds), times a
             draw from Student's t with seeds - 1 degrees of freedom. A bootstrap of three seeds would find a
             difference in one of four experiments where there is none.

The random numbers have a fixed seed, so the same predictions give the same interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Complex128, Float, Float64, Int, Int64

LEVEL = 95  # per cent
DRAWS = 2000
AT_ONCE = 4_000_000  # counts of images in memory at the same time


class Interval(NamedTuple):
    """mean: over images and seeds."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Of a difference: whether one side is better."""
        return self.low > 0 or self.high < 0


@runtime_checkable
class PerImage(Protocol):
    """A metric of one seed as what it has of each image.  images: their numbers, ascending."""

    @property
    def images(self) -> Int64[np.ndarray, " n"]: ...

    def value(self) -> float: ...

    def on(self, images: Int64[np.ndarray, " k"]) -> Any:
        """The same of these images only."""
        ...

    def minus(self, other: Any) -> Any:
        """The difference to another one of the same kind on the same images."""
        ...

    def averaged(self, others: Sequence[Any]) -> Any:
        """The mean with others, such as of other seeds, on the same images."""
        ...

    def drawn(self, generator: np.random.Generator) -> Float64[np.ndarray, " draws"]:
        """The metric on each draw of the images."""
        ...


@dataclass(frozen=True, eq=False)
class Mean:
    """A weighted mean over images: sum of weight * value / sum of weight.

    bounds: of the values, where they are known.
    """

    images: Int64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]
    weights: Float64[np.ndarray, " n"]
    bounds: tuple[float, float] | None = None

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, " n"],
        images: Int[np.ndarray, " n"] | None = None,
        weights: Float[np.ndarray, " n"] | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Mean:
        """images: 0 to n - 1 where they are not given.  weights: 1."""
        order = np.arange(len(values)) if images is None else np.argsort(images)
        numbers = order if images is None else images[order]
        each = np.ones(len(values)) if weights is None else weights[order].astype(np.float64)
        return cls(numbers.astype(np.int64), values[order].astype(np.float64), each, bounds)

    def value(self) -> float:
        return float(self.values @ self.weights / self.weights.sum())

    def on(self, images: Int64[np.ndarray, " k"]) -> Mean:
        places = np.searchsorted(self.images, images)
        return Mean(images, self.values[places], self.weights[places], self.bounds)

    def minus(self, other: Mean) -> Mean:
        return Mean(self.images, self.values - other.values, self.weights)

    def averaged(self, others: Sequence[Mean]) -> Mean:
        values = np.mean([self.values, *(other.values for other in others)], axis=0)
        return Mean(self.images, values, self.weights, self.bounds)

    def drawn(self, generator: np.random.Generator) -> Float64[np.ndarray, " draws"]:
        """Images with the same value and weight are drawn together: right and wrong are two kinds of image."""
        kinds, counts = np.unique(self.values + 1j * self.weights, return_counts=True)
        kinds, counts = np.append(kinds, self._ends()), np.append(counts, [1, 1])
        values, weights = kinds.real, kinds.imag
        parts = []
        for size in _parts(len(counts)):
            drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size=size)
            parts.append(drawn @ (values * weights) / (drawn @ weights))
        return np.concatenate(parts)

    def _ends(self) -> Complex128[np.ndarray, " 2"]:
        """Value + i * weight of two more images. A difference, which has no bounds, may go either way."""
        if self.bounds is None:
            most = float(np.abs(self.values).max())
            ends = (-most, most)
        else:
            ends = float(self.values.min()), float(self.values.max())
            ends = self.bounds if ends[0] == ends[1] else ends
        return np.array(ends) + 1j * self.weights.mean()


@dataclass(frozen=True, eq=False)
class OfSums:
    """A metric that is a function of sums over images, such as mIoU of counts of pixels.

    each: what each image adds.  of: sums (..., m) -> metric (...).
    """

    images: Int64[np.ndarray, " n"]
    each: Float64[np.ndarray, "n m"]
    of: Callable[[np.ndarray], Any]

    def value(self) -> float:
        return float(self.of(self.each.sum(axis=0)))

    def on(self, images: Int64[np.ndarray, " k"]) -> OfSums:
        return OfSums(images, self.each[np.searchsorted(self.images, images)], self.of)

    def minus(self, other: OfSums) -> OfSums:
        return self._joined([other], lambda own, others: own - others[0])

    def averaged(self, others: Sequence[OfSums]) -> OfSums:
        return self._joined(others, lambda own, rest: np.mean([own, *rest], axis=0)) if others else self

    def drawn(self, generator: np.random.Generator) -> Float64[np.ndarray, " draws"]:
        n = len(self.images)
        parts = (generator.multinomial(n, np.full(n, 1 / n), size=size) for size in _parts(n))
        return np.concatenate([self.of(drawn @ self.each) for drawn in parts])

    def _joined(self, others: Sequence[OfSums], combine: Callable[[Any, list[Any]], Any]) -> OfSums:
        """Sums of all side by side, so that all are of the same draw."""
        ends = np.cumsum([self.each.shape[1], *(other.each.shape[1] for other in others)])

        def of(sums: np.ndarray) -> Any:
            own, *rest = np.split(sums, ends[:-1], axis=-1)
            return combine(self.of(own), [other.of(part) for other, part in zip(others, rest, strict=True)])

        return OfSums(self.images, np.concatenate([self.each, *(other.each for other in others)], axis=1), of)


def interval(seeds: Sequence[PerImage], same_images: bool = True) -> Interval:
    """Of a metric, given by seed.

    same_images: every seed is measured on the same images, by number; else each draws its own.
    """
    return _interval([each.value() for each in seeds], _drawn(seeds, same_images), getattr(seeds[0], "bounds", None))


def paired(first: Sequence[PerImage], second: Sequence[PerImage], same_images: bool = True) -> Interval | None:
    """Of the difference first - second, given by seed, on the images that both have; None where there are none.

    The n-th seeds of both belong together. One seed alone stands for all: another would give the same.
    """
    seeds = max(len(first), len(second))
    sides = ([*each] * seeds if len(each) == 1 else each for each in (first, second))
    differences = list[PerImage]()
    for one, two in zip(*sides, strict=True):
        common = np.intersect1d(one.images, two.images)
        if not len(common):
            return None
        differences.append(one.on(common).minus(two.on(common)))
    return _interval([each.value() for each in differences], _drawn(differences, same_images), None)


def _drawn(seeds: Sequence[PerImage], same_images: bool) -> Float64[np.ndarray, " draws"]:
    """The mean over the seeds on each draw of the images, and each with its deviation of the seeds."""
    generator = np.random.default_rng(0)
    common = reduce(np.intersect1d, [each.images for each in seeds])
    if same_images and len(common):
        own, *others = (each.on(common) for each in seeds)
        found = own.averaged(others).drawn(generator)
    else:
        found = np.mean([each.drawn(generator) for each in seeds], axis=0)
    if len(seeds) == 1:
        return found
    deviation = statistics.stdev(each.value() for each in seeds) / math.sqrt(len(seeds))
    return found + deviation * generator.standard_t(len(seeds) - 1, size=len(found))


def _interval(values: Sequence[float], drawn: np.ndarray, bounds: tuple[float, float] | None) -> Interval:
    low, high = np.nanpercentile(drawn, [(100 - LEVEL) / 2, (100 + LEVEL) / 2]).tolist()
    least, most = bounds or (-math.inf, math.inf)
    return Interval(statistics.fmean(values), max(low, least), min(high, most))


def _parts(width: int) -> list[int]:
    """How many of the draws at a time, with so many counts each."""
    size = max(AT_ONCE // width, 1)
    return [min(size, DRAWS - first) for first in range(0, DRAWS, size)]
