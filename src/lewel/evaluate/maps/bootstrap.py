"""How far a mean over images may be off: percentiles of the means of images drawn again and again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

LEVEL = 95  # per cent


class Interval(NamedTuple):
    """A mean, and between which numbers it lies in 95 of 100 draws of the images. None: there is nothing to average."""

    mean: float | None
    low: float | None
    high: float | None


def draws(n: int, count: int, seed: int) -> Int64[np.ndarray, "count n"]:
    """Which of n images are drawn, with replacement. The same draws for what is compared: its difference is paired."""
    return np.random.default_rng(seed).integers(n, size=(count, n))


def interval(values: Float64[np.ndarray, " n"], drawn: Int64[np.ndarray, "count n"]) -> Interval:
    """Of the mean; images whose value is not a number are left out of it."""
    known = np.isfinite(values)
    if not known.any():
        return Interval(None, None, None)
    weights = known[drawn].sum(axis=1)
    means = np.where(known, values, 0)[drawn].sum(axis=1)[weights > 0] / weights[weights > 0]
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2]).tolist()
    return Interval(float(values[known].mean()), low, high)
