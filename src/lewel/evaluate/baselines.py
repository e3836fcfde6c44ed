"""What needs no weights, to set numbers against: guessing, and always the most frequent answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lewel.evaluate import confusion, predictions
from lewel.evaluate.results import Result

Baseline = tuple[str, dict[str, float]]  # what it does, and its numbers under the names of metrics, in per cent


def baselines(result: Result, directory: Path) -> list[Baseline]:
    """On the images of val, as far as their classes or attributes are known. directory: with the seeds' records."""
    return _of_classes(result, directory) or _of_attributes(result, directory)


def _of_classes(result: Result, directory: Path) -> list[Baseline]:
    counts = confusion.counts(result, directory)
    if counts is None:
        return []
    images = np.sort(counts.of_classes())[::-1]
    chance = 100 / len(images)
    found = [(f"chance, {len(images):,} classes", _top(chance, min(100.0, 5 * chance), chance))]
    if images[0] > images[-1]:
        share = 100 * images / images.sum()
        found.append(("always the most frequent classes", _top(float(share[0]), float(share[:5].sum()), chance)))
    return found


def _top(one: float, five: float, mean: float) -> dict[str, float]:
    return {"top1": one, "top1_last": one, "top5": five, "mean_per_class": mean}


def _of_attributes(result: Result, directory: Path) -> list[Baseline]:
    found = predictions.read(directory, result.runs[0].seed) if "mean_accuracy" in result.metrics else None
    if found is None:
        return []
    share = 100 * found["targets"].mean(axis=0)
    frequent = float(np.maximum(share, 100 - share).mean())
    return [
        ("always each attribute's more frequent value", {"mean_accuracy": frequent, "mean_accuracy_last": frequent})
    ]
