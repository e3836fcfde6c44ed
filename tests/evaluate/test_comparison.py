"""Who is best: from predictions on a disk to marks, and none where two rows cannot be told apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import torch
from little import KNN, evaluate, read
from test_results import a_result, a_run

from lewel.evaluate import comparison, finetune, predictions
from lewel.evaluate.classification import Outcome, per_image
from lewel.evaluate.dense.landmarks import metrics as landmarks
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.results import Result

PROTOCOL = PROTOCOLS[KNN]
LABELS = np.arange(300) % 6


def outcome(right: np.ndarray) -> Outcome:
    predicted = np.where(right, LABELS, (LABELS + 1) % 6)
    return Outcome(np.arange(300), LABELS, predicted, np.where(right, 0, 3))


def row(root: Path, label: str, *rights: np.ndarray, **changes: Any) -> tuple[Result, comparison.Scores]:
    """Of one of the weights, a seed for each set of hits."""
    runs, names = [], tuple("abcdef")
    for seed, right in enumerate(rights):
        found = outcome(right)
        (root / label / f"seed-{seed}").mkdir(parents=True)
        predictions.write(root / label / f"seed-{seed}", found.arrays())
        runs.append(a_run(seed, **dict(found.values(names))))
    result = replace(a_result(*runs, label=label), **changes)
    return result, comparison.scores(result, root / label, lambda arrays: per_image(arrays, PROTOCOL))


def marks(*rows: tuple[Result, comparison.Scores]) -> list[tuple[str, ...]]:
    return [result.best for result in comparison.compared(*map(list, zip(*rows, strict=True)))]


GOOD, POOR = np.arange(300) % 10 < 7, np.arange(300) % 10 < 5
NEAR = GOOD & (np.arange(300) > 3)  # three images fewer


def test_only_what_is_apart_from_every_other_row_is_best(tmp_path: Path) -> None:
    good, near, poor = (row(tmp_path, name, right) for name, right in zip("gnp", (GOOD, NEAR, POOR), strict=True))
    assert marks(poor, good) == [(), ("top1", "mean_per_class")]  # top-5 is 100 of both
    assert marks(good, near, poor) == [(), (), ()]
    assert marks(good) == [()] and marks(good, good) == [(), ()]


def test_intervals_are_around_the_numbers(tmp_path: Path) -> None:
    (found,) = comparison.compared(*map(list, zip(row(tmp_path, "a", GOOD, POOR), strict=True)))
    assert set(found.intervals) == {"top1", "top5", "mean_per_class"}
    for name, (low, high) in found.intervals.items():
        assert 0 <= low <= found.metrics[name] <= high <= 100
    (alone,) = comparison.compared(*map(list, zip(row(tmp_path, "b", GOOD), strict=True)))
    assert alone.intervals["top1"] == pytest.approx((64.6, 74.9), abs=0.7)  # Wilson's


def test_seeds_that_disagree_are_no_winner(tmp_path: Path) -> None:
    """Ahead on the mean of two seeds, far behind in one of them."""
    first, second = row(tmp_path, "a", GOOD, GOOD), row(tmp_path, "b", POOR, np.ones(300, bool))
    assert first[0].metrics["top1"] < second[0].metrics["top1"]
    assert marks(first, second) == [(), ()]


def test_rows_that_cannot_be_compared_have_no_best(tmp_path: Path) -> None:
    good, poor = row(tmp_path, "a", GOOD), row(tmp_path, "b", POOR)
    protocol = good[0].protocol | {"digest": "other"}
    assert marks((replace(good[0], protocol=protocol), good[1]), poor) == [(), ()]
    data = good[0].runs[0].data | {"val": {"images": 4, "digest": "other"}}
    run = replace(good[0].runs[0], data=data)
    assert marks((replace(good[0], runs=(run,)), good[1]), poor) == [(), ()]


def test_results_without_predictions_have_no_interval_and_no_mark(tmp_path: Path) -> None:
    good, poor = row(tmp_path, "a", GOOD), row(tmp_path, "b", POOR)
    shutil.rmtree(tmp_path / "a/seed-0")
    scores = comparison.scores(good[0], tmp_path / "a", lambda arrays: per_image(arrays, PROTOCOL))
    found = comparison.compared([good[0], poor[0]], [scores, poor[1]])
    assert found[0].intervals == {} and found[1].intervals and found[0].best == found[1].best == ()


def test_the_least_error_is_the_best() -> None:
    errors = np.random.default_rng(0).random(200) / 20
    each = [landmarks.per_image(np.arange(200), errors * factor, 0.05) for factor in (1.5, 1.0)]
    found = [
        a_result(a_run(0, **{name: metric.value() for name, metric in scores.items()}), label=label)
        for label, scores in zip("ab", each, strict=True)
    ]
    marked = comparison.compared(found, [{name: [metric] for name, metric in scores.items()} for scores in each])
    assert marked[0].best == () and set(marked[1].best) == {"NME", "failure_rate", "AUC"}


# -- what each task keeps of an image gives the number that it reports


def test_of_classes() -> None:
    generator = np.random.default_rng(0)
    labels, rank = generator.integers(0, 9, 200), generator.integers(0, 9, 200)
    found = Outcome(np.arange(200), labels, np.where(rank == 0, labels, 9), rank)
    told = dict(found.values(tuple("abcdefghij")))
    for name, metric in found.per_image().items():
        assert metric.value() == pytest.approx(told[name])


def test_of_attributes() -> None:
    generator = np.random.default_rng(0)
    targets, predicted = generator.random((2, 50, 8)) < 0.5
    arrays = {"images": np.arange(50), "targets": targets, "predicted": predicted}
    (metric,) = finetune.per_image(arrays, PROTOCOL).values()
    assert metric.value() == pytest.approx(100 * (targets == predicted).mean())


def test_of_pixels() -> None:
    """Class 4 is nowhere, class 3 in no truth."""
    counts = np.random.default_rng(0).integers(0, 100, (20, 5, 5))
    counts[:, 4], counts[:, :, 4], counts[:, 3] = 0, 0, 0
    told = miou.numbers(torch.from_numpy(counts.sum(axis=0)))
    found = miou.per_image(np.arange(20), counts)
    assert {name: metric.value() for name, metric in found.items()} == pytest.approx(told)


def test_of_points() -> None:
    errors = np.random.default_rng(0).random(40) / 10
    found = landmarks.per_image(np.arange(40), errors, 0.05)
    told = {
        "NME": landmarks.nme(errors),
        "failure_rate": landmarks.failure_rate(errors, 0.05),
        "AUC": landmarks.auc(errors, 0.05),
    }
    assert {name: metric.value() for name, metric in found.items()} == pytest.approx(told)
    assert "NME" not in landmarks.per_image(np.arange(40), np.append(errors[1:], np.nan), 0.05)


def test_from_the_command_to_results(weights: Path, images: Path, out: Path) -> None:
    """Six images tell two encoders apart by no means; the intervals stand in every file."""
    assert evaluate(KNN, (weights, "random:test_resnet"), images, out, "--image-size", 32) == 0
    for label, line in zip(("mine", "random-test_resnet"), read(out / "table.json"), strict=True):
        content = read(out / label / "results.json")
        low, high = content["intervals"]["top1"]
        assert (line["top1_low"], line["top1_high"]) == (low, high) and low <= content["metrics"]["top1"] <= high
        assert high - low > 30 and "top1_best" not in line
        assert f"[{low:.1f}, {high:.1f}]" in (out / "table.md").read_text()
        assert f"[{low:.1f}, {high:.1f}]" in (out / "page.html").read_text()
    shutil.rmtree(out / "mine/seed-0")
    assert little.evaluate(KNN, (weights, "random:test_resnet"), images, out, "--image-size", 32) == 0
