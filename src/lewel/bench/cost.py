"""`lewel bench cost`: Table 9 of the paper and its limitations, measured: what learning where to look costs.

Each baseline is timed together with its LEWEL, interleaved; then LEWEL with other sizes of d (the number of maps) and h
(the groups of channels; the fewer, the more aligned embeddings).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lewel import plan, recipes
from lewel.bench import compare, package
from lewel.bench.apart import timed
from lewel.bench.compare import CONTROL, Result
from lewel.bench.package import Setup
from lewel.console import Table
from lewel.errors import UserError

PAIRS = (("moco_v2", "lewel_m"), ("byol", "lewel_b"))
IMAGENET = 1_281_167


@dataclass(frozen=True)
class Row:
    """A method in a precision: its result against its baseline's, with what its FLOPs alone would add."""

    name: str
    precision: str
    result: Result
    flops_ratio: float

    @property
    def epoch_s(self) -> float:
        """Seconds for ImageNet once."""
        return IMAGENET / self.result.images_per_s

    @property
    def overhead(self) -> tuple[float, float, float]:
        """Its time over the baseline's, less one, with its interval."""
        return 1 / self.result.ratio - 1, 1 / self.result.high - 1, 1 / self.result.low - 1


def suffix(recipe: str) -> str:
    """in1k_100ep of lewel_b_in1k_100ep. Raises UserError for a recipe of none of the four methods."""
    known = {row.name for row in recipes.describe()}
    methods = [name for pair in PAIRS for name in pair]
    for method in methods:
        setting = recipe.removeprefix(f"{method}_")
        if setting != recipe and all(f"{other}_{setting}" in known for other in methods):
            return setting
    raise UserError(f"--recipe {recipe}: one of a setting that all four methods have, such as lewel_b_in1k_100ep")


def variants(
    lewel: str, numbers: plan.Overrides, dims: Sequence[int], groups: Sequence[int]
) -> Iterator[tuple[str, plan.Overrides]]:
    """LEWEL as published, then with one number changed."""
    yield lewel, numbers
    for dim in dims:
        yield f"{lewel}, d {dim}", replace(numbers, dim=dim)
    for h in groups:
        yield f"{lewel}, h {h}", replace(numbers, groups=h)


def measure(
    setup: Setup,
    numbers: plan.Overrides,
    suffix: str,
    precisions: Sequence[str],
    dims: Sequence[int],
    groups: Sequence[int],
    rounds: int,
) -> Iterator[Row]:
    """The rows as they come. suffix: of the recipes, such as in1k_100ep. numbers: flags for all of them."""
    for precision in precisions:
        for baseline, lewel in PAIRS:
            setups: dict[str, Setup] = {}
            for name, flags in ((baseline, numbers), *variants(lewel, numbers, dims, groups)):
                recipe = recipes.get(f"{name.split(',')[0]}_{suffix}")
                resolved = plan.resolve(recipe, flags, IMAGENET).recipe
                setups[name] = replace(setup, recipe=resolved, precision=precision)
            yield from _pair(setups, rounds)


def _pair(setups: dict[str, Setup], rounds: int) -> Iterator[Row]:
    results = timed({name: (package.contender, setup) for name, setup in setups.items()}, rounds)
    base = results[0]
    for result in results:
        name = f"{base.name}, again" if result.name == CONTROL else result.name
        yield Row(name, setups[base.name].precision, result, result.facts["flops"] / base.facts["flops"])


def table(title: str, rows: Sequence[Row]) -> Table:
    heads = ("images/s", "s an epoch", "over the baseline, 95 %", "by FLOPs", "data wait", "peak GB", "M trained")
    made = compare.empty_table(title, *heads)
    for row in rows:
        over, low, high = row.overhead
        seconds = row.result.seconds
        made.add_row(
            f"{row.name}, {row.precision}",
            compare.figures(row.result.images_per_s),
            f"{row.epoch_s:,.0f}",
            f"{100 * over:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})",
            f"{100 * (row.flops_ratio - 1):+.1f} %",
            f"{100 * row.result.facts['data_s'] * len(seconds) / sum(seconds):.0f} %",
            f"{row.result.facts['peak_bytes'] / 1e9:.2f}",
            f"{row.result.facts['parameters'] / 1e6:.1f}",
        )
    return made


def as_dict(row: Row) -> dict[str, Any]:
    """For the file."""
    return {
        "name": row.name,
        "precision": row.precision,
        "epoch_s": row.epoch_s,
        "overhead": row.overhead,
        "flops_ratio": row.flops_ratio,
    }
