"""How far predicted points are from the truth: NME, failure rate, area under the cumulative errors. All in per cent.

The error of a face is the mean distance of its points, divided by the distance of the outer eye corners (inter-ocular)
for 68 points; by the diagonal of the points' box where it is not known which points these are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from lewel.evaluate.dense.truth.points import distances


def errors(predicted: Float[np.ndarray, "n k 2"], truth: Float[np.ndarray, "n k 2"]) -> Float64[np.ndarray, " n"]:
    """Of each face, as a share."""
    away = np.linalg.norm(predicted.astype(np.float64) - truth, axis=2)
    return away.mean(axis=1) / distances(truth)


def nme(errors: Float64[np.ndarray, " n"]) -> float:
    """Normalised mean error."""
    return 100 * float(errors.mean())


def failure_rate(errors: Float64[np.ndarray, " n"], threshold: float) -> float:
    """The faces with a larger error, or with one that is not a number."""
    return 100 * float(1 - (errors <= threshold).mean())


def auc(errors: Float64[np.ndarray, " n"], threshold: float) -> float:
    """The area under the share of faces with an error of at most e, for e from 0 to the threshold; of it at most 100.

    Exact: a face counts from its own error on. Benchmarks that sum over a grid of e come near it, and nearer the finer.
    """
    return 100 * float(np.where(errors <= threshold, 1 - errors / threshold, 0).mean())
