"""What stands behind the one number of an evaluation: its classes or attributes, and the settings of a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from lewel.evaluate.results import Result

MOST = 100  # classes on a page; of more the best and the worst
KINDS = {  # of a task's parts, and what is told of each
    "per_class": ("class", "Accuracy"),
    "per_attribute": ("attribute", "Accuracy"),
    "per_class_AP": ("class", "AP"),
    "per_class_IoU": ("class", "IoU"),
}


class Part(NamedTuple):
    """A class, say. values: in per cent, one for each of the weights; None where that one has no number."""

    name: str
    values: tuple[float | None, ...]


class Parts(NamedTuple):
    """kind: such as "class".  measure: such as "AP".  columns: lists side by side, the highest first.  of: how many.

    without: names of those that have no number at all, as val has nothing of them to be measured.
    """

    kind: str
    measure: str
    columns: tuple[tuple[str, tuple[Part, ...]], ...]
    of: int
    without: tuple[str, ...]


class Cell(NamedTuple):
    """shade: from 0 to 1, for a quarter of the cells 0, for the best 1.  own: of the protocol itself."""

    top1: float | None
    shade: float
    own: bool


class Grid(NamedTuple):
    """Top-1 by learning rate, a row each, and weight decay.  edge: the best lies at the end of the rates."""

    label: str
    decays: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    edge: str


def parts(results: Sequence[Result]) -> Parts | None:
    """All classes or attributes, sorted by their mean over the weights; those without a number are named."""
    kind = next((kind for kind in KINDS if any(kind in result.metrics for result in results)), None)
    if kind is None:
        return None
    found = [result.metrics.get(kind, {}) for result in results]
    names = dict.fromkeys(name for values in found for name in values)
    every = [Part(name, tuple(values.get(name) for values in found)) for name in names]
    listed = [part for part in every if any(value is not None for value in part.values)]
    listed.sort(key=lambda part: fmean(value for value in part.values if value is not None), reverse=True)
    if not listed:
        return None
    half = math.ceil(len(listed) / 2)
    if len(listed) > MOST:
        columns = ((f"{MOST // 2} best", listed[: MOST // 2]), (f"{MOST // 2} worst", listed[-MOST // 2 :]))
    elif len(listed) > 12:
        columns = (("better half", listed[:half]), ("other half", listed[half:]))
    else:
        columns = (("", listed),)
    without = tuple(part.name for part in every if all(value is None for value in part.values))
    return Parts(*KINDS[kind], tuple((title, tuple(column)) for title, column in columns), len(listed), without)


def grid(result: Result) -> Grid | None:
    """The grid of a linear evaluation; None for other tasks."""
    settings = result.metrics.get("grid")
    if not settings:
        return None
    own = (result.protocol["lr"], result.protocol["weight_decay"])
    found = {(each["lr"], each["weight_decay"]): each["top1"] for each in settings}
    rates, decays = (sorted({pair[axis] for pair in found}) for axis in (0, 1))
    known = sorted(top1 for top1 in found.values() if top1 is not None)
    low, best = (known[len(known) // 4], known[-1]) if known else (0.0, 0.0)

    def cell(pair: tuple[float, float]) -> Cell | None:
        if pair not in found:
            return None
        top1 = found[pair]
        shade = 0.0 if top1 is None or best == low else max(0.0, (top1 - low) / (best - low))
        return Cell(top1, shade, all(map(math.isclose, pair, own)))

    rows = tuple((f"{rate:.4g}", tuple(cell((rate, decay)) for decay in decays)) for rate in rates)
    at_best = {pair[0] for pair, top1 in found.items() if top1 == best}
    ends = ((rates[0], "smallest"), (rates[-1], "largest")) if len(rates) > 1 else ()
    edge = next((text for rate, text in ends if at_best == {rate}), "")
    return Grid(result.label, tuple(f"{decay:g}" for decay in decays), rows, edge)
