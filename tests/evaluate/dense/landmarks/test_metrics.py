"""NME by hand; failure rate and area by counting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lewel.evaluate.dense.landmarks import metrics
from lewel.evaluate.dense.truth.points import distances

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(0, 100, (50, 68, 2))


def test_the_truth_itself_is_perfect() -> None:
    errors = metrics.errors(TRUTH, TRUTH)
    assert (metrics.nme(errors), metrics.failure_rate(errors, 0.05), metrics.auc(errors, 0.05)) == (0, 0, 100)


def test_by_hand() -> None:
    """Eyes 50 apart; one point 5 away, another 3 and 4: (5 + 5) / 68 / 50."""
    truth = np.zeros((1, 68, 2))
    truth[0, 45] = 30, 40
    predicted = truth.copy()
    predicted[0, 3] += (0, 5)
    predicted[0, 45] += (3, -4)
    assert metrics.nme(metrics.errors(predicted, truth)) == pytest.approx(100 * 10 / 68 / 50)


def test_a_loop_over_faces_and_points_says_the_same() -> None:
    predicted = TRUTH + RNG.normal(0, 3, TRUTH.shape)
    expected = []
    for face, found in zip(TRUTH, predicted, strict=True):
        across = np.hypot(*(face[36] - face[45]))
        expected.append(sum(np.hypot(*(a - b)) for a, b in zip(face, found, strict=True)) / 68 / across)
    assert np.allclose(metrics.errors(predicted, TRUTH), expected, rtol=1e-12, atol=0)


def test_size_and_place_of_faces_do_not_matter() -> None:
    predicted = TRUTH + RNG.normal(0, 3, TRUTH.shape)
    same = metrics.errors(7 * predicted + 11, 7 * TRUTH + 11)
    assert np.allclose(metrics.errors(predicted, TRUTH), same, rtol=1e-9, atol=0)


def test_failures_and_area_by_counting() -> None:
    """The area of a curve of steps between all errors."""
    errors, threshold = np.append(RNG.uniform(0, 0.1, 300), [0.05, 0.0]), 0.05
    edges = np.unique(np.concatenate([[0, threshold], errors[errors < threshold]]))
    area = sum((errors <= low).mean() * (high - low) for low, high in pairwise(edges))
    assert metrics.auc(errors, threshold) == pytest.approx(100 * area / threshold, rel=1e-12)
    assert metrics.failure_rate(errors, threshold) == pytest.approx(
        100 * sum(error > threshold for error in errors) / len(errors)
    )


def test_an_error_at_the_threshold_is_no_failure_and_what_is_no_number_is_one() -> None:
    errors = np.array([0.05, np.nan, 0.05001, np.inf])
    assert metrics.failure_rate(errors, 0.05) == 75 and metrics.auc(errors, 0.05) == 0
    assert np.isnan(metrics.nme(errors))


def test_other_points_than_68() -> None:
    truth = np.array([[[0.0, 0], [6, 8], [3, 3], [1, 1], [2, 5]]])
    assert distances(truth).tolist() == [10]
    assert metrics.errors(truth + np.array([1.0, 0]), truth).tolist() == pytest.approx([0.1])


def test_hidden_points_do_not_count() -> None:
    """The error is that of the other points; a prediction that is no number stays a failure."""
    truth, predicted = TRUTH[:3].copy(), TRUTH[:3] + RNG.normal(0, 3, (3, 68, 2))
    truth[0, 5] = truth[1, 7, 0] = np.nan
    found = metrics.errors(predicted, truth)
    for face, hidden in enumerate((5, 7)):
        away = np.linalg.norm(np.delete(predicted[face] - TRUTH[face], hidden, axis=0), axis=1)
        assert found[face] == pytest.approx(away.mean() / distances(TRUTH[face : face + 1])[0], rel=1e-12)
    assert found[2] == metrics.errors(predicted, TRUTH[:3])[2]
    predicted[0, 5] = np.nan
    assert metrics.errors(predicted, truth)[0] == found[0]
    predicted[0, 6] = np.nan
    assert np.isnan(metrics.errors(predicted, truth)[0])
