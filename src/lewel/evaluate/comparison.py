"""The intervals of each result, and which of several weights is best, where images and seeds leave no doubt.

A number is best of its column where the 95 % interval of its difference to every other row excludes 0, and the column
has no best otherwise. Only numbers that follow from what is kept of each image have an interval (`Kind.per_image`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lewel.evaluate import predictions
from lewel.evaluate.intervals import Interval, PerImage, interval, paired
from lewel.evaluate.results import Result, data_digest, is_better_lower, rules

Arrays = Mapping[str, np.ndarray]
Scores = dict[str, list[PerImage]]  # of each metric, by seed


def scores(result: Result, directory: Path, per_image: Callable[[Arrays], Mapping[str, PerImage]]) -> Scores:
    """From the predictions of its seeds in `directory`; empty where one of them has none."""
    each = [predictions.read(directory, run.seed) for run in result.runs]
    found = [per_image(arrays) for arrays in each if arrays is not None]
    if len(found) < len(each):
        return {}
    return {name: [seed[name] for seed in found] for name in found[0] if name in result.numbers()}


def compared(found: Sequence[Result], each: Sequence[Scores]) -> list[Result]:
    """The results with their intervals and with the metrics of which they are best."""
    same = [_same_images(result) for result in found]
    winners = _winners(found, each) if len(found) > 1 and _comparable(found) else {}
    return [
        replace(
            result,
            intervals={name: _ends(interval(seeds, alike)) for name, seeds in of.items()},
            best=tuple(name for name, label in winners.items() if label == result.label),
        )
        for result, of, alike in zip(found, each, same, strict=True)
    ]


def _ends(found: Interval) -> tuple[float, float]:
    return round(found.low, 4), round(found.high, 4)  # more digits are the bootstrap's own


def _winners(found: Sequence[Result], each: Sequence[Scores]) -> dict[str, str]:
    """The label of the best, by metric."""
    shared = [name for name in each[0] if all(name in of for of in each)]
    return {name: label for name in shared if (label := _best(name, found, each)) is not None}


def _best(name: str, found: Sequence[Result], each: Sequence[Scores]) -> str | None:
    sign = -1 if is_better_lower(name) else 1
    first, *rest = sorted(range(len(found)), key=lambda place: sign * found[place].metrics[name], reverse=True)
    alike = all(map(_same_images, found))
    for other in rest:
        difference = paired(each[first][name], each[other][name], alike)
        if difference is None or not difference.excludes_zero or sign * difference.mean <= 0:
            return None
    return found[first].label


def _comparable(found: Sequence[Result]) -> bool:
    """Whether the rows have one protocol and the same images."""
    data = {data_digest(run.data) for result in found for run in result.runs if run.seed == found[0].runs[0].seed}
    return len({rules(result) for result in found}) == 1 and len(data) == 1


def _same_images(result: Result) -> bool:
    """Whether all seeds have the same val, image by image."""
    return len({run.data["val"]["digest"] for run in result.runs}) == 1
