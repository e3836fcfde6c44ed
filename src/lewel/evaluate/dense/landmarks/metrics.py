"""How far predicted points are from the truth: NME, failure rate, area under the cumulative errors. All in per cent.

The error of a face is the mean distance of its points, but the hidden ones, divided by the distance of the outer eye
corners (inter-ocular) for 68 points; by the diagonal of the points' box where it is not known which points these are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from lewel.evaluate.dense.truth.points import distances
from lewel.evaluate.intervals import Mean, PerImage


def errors(predicted: Float[np.ndarray, "n k 2"], truth: Float[np.ndarray, "n k 2"]) -> Float64[np.ndarray, " n"]:
    """Of each face, as a share. Points whose truth is NaN are hidden."""
    away = np.linalg.norm(predicted.astype(np.float64) - truth, axis=2)
    seen = ~np.isnan(truth).any(axis=2)
    return np.where(seen, away, 0).sum(axis=1) / seen.sum(axis=1) / distances(truth)


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
    return 100 * float(_areas(errors, threshold).mean())


def per_image(
    images: Int[np.ndarray, " n"], errors: Float64[np.ndarray, " n"], threshold: float
) -> dict[str, PerImage]:
    """NME, failure rate and area, face by face; without NME where an error is not a number."""
    found: dict[str, PerImage] = {
        "failure_rate": Mean.of(100.0 * ~(errors <= threshold), images, bounds=(0, 100)),
        "AUC": Mean.of(100 * _areas(errors, threshold), images, bounds=(0, 100)),
    }
    return {"NME": Mean.of(100 * errors, images)} | found if np.isfinite(errors).all() else found


def _areas(errors: Float64[np.ndarray, " n"], threshold: float) -> Float64[np.ndarray, " n"]:
    return np.where(errors <= threshold, 1 - errors / threshold, 0)
