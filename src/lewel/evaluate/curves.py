"""Learning curves of all weights together, from the records of their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lewel.evaluate.results import Result, title
from lewel.loggers import jsonl
from lewel.visualize.chart import Chart, Series, repeated

POINTS = 50  # of a curve of the loss
MEASURES = ("top1", "mean_accuracy", "AP", "mIoU", "NME")

Row = Mapping[str, Any]


def charts(directories: Mapping[str, Path], results: Sequence[Result]) -> list[Chart]:
    """Accuracy on val and loss by epoch, a line for each seed; none for tasks that do not train."""
    rows = {
        result.label: [jsonl.read(directories[result.label] / f"seed-{run.seed}" / jsonl.NAME) for run in result.runs]
        for result in results
    }
    each = ", a line for each seed" if any(len(result.runs) > 1 for result in results) else ""
    drawn = [
        repeated(
            title(name),
            f"per cent of val{each}",
            {label: [_values(r, name) for r in of] for label, of in rows.items()},
        )
        for name in MEASURES
    ]
    losses = {label: [_averaged(_values(each, "loss")) for each in seeds] for label, seeds in rows.items()}
    drawn.append(repeated("Loss", f"of training, augmented{each}", losses))
    return [chart for chart in drawn if chart is not None]


def _values(rows: Sequence[Row], name: str) -> Series:
    return [(row["epoch"], row[name]) for row in rows if name in row and "epoch" in row]


def _averaged(points: Series) -> Series:
    """Means over equal parts of the training, which hide the noise of single batches; a gap stays one."""
    width = max((x for x, _ in points), default=0) / POINTS
    parts: dict[int, list[tuple[float, float | None]]] = {}
    for x, y in points:
        parts.setdefault(math.ceil(x / width - 1e-9), []).append((x, y))
    return [(part[-1][0], _mean([y for _, y in part])) for part in parts.values()]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
