"""Several runs side by side: their curves over the images seen, and a table of what each cost and gained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from lewel.config import Recipe
from lewel.console import Table
from lewel.errors import UserError
from lewel.evaluate.during import TITLES
from lewel.loggers import jsonl
from lewel.recipes import config_file
from lewel.visualize import style

WIDTH, PANEL_HEIGHT = 4.2, 2.3  # inches of a panel
MARGIN = 0.55


class Run(NamedTuple):
    """What a run directory says of its training. rows: of metrics.jsonl, oldest first."""

    name: str
    recipe: Recipe
    rows: Sequence[dict[str, Any]]

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Images seen in thousands, and the values of `key` that are numbers."""
        batch = self.recipe.optimizer.batch_size
        found = [(row["step"] * batch / 1000, row[key]) for row in self.rows if isinstance(row.get(key), int | float)]
        return [x for x, _ in found], [y for _, y in found]


class Panel(NamedTuple):
    title: str
    key: str


PANELS = (
    *(Panel(f"{title} top-1, %", f"{name}/top1") for name, title in TITLES.items()),
    Panel("loss", "loss"),
    Panel("embedding spread of the global term, 0 = collapsed", "spread/global"),
    Panel("RankMe of the pooled features", "rankme"),
)


def read(directory: Path) -> Run:
    """Raises UserError where no run is, or none that has begun."""
    config = directory / config_file.NAME
    rows = jsonl.read(directory / jsonl.NAME)
    if not config.is_file() or not rows:
        raise UserError(f"{directory} is no run with records; give run directories of `lewel pretrain`")
    return Run(directory.name, config_file.read(config), rows)


def figure(runs: Sequence[Run]) -> Figure:
    """The panels for which a run has numbers, two in a row; one colour a run. Raises UserError for too many runs."""
    if len(runs) > len(style.SERIES):
        raise UserError(f"{len(runs)} runs: {len(style.SERIES)} at most fit into one picture")
    shown = [panel for panel in PANELS if any(run.series(panel.key)[0] for run in runs)]
    lines = (len(shown) + 1) // 2
    sheet = style.Sheet(2 * WIDTH, 0.5 + lines * PANEL_HEIGHT)
    for number, (run, colour) in enumerate(zip(runs, style.SERIES, strict=False)):
        sheet.text(MARGIN + 2.0 * number, 0.15, run.name, 9, colour, weight="bold")
    for number, panel in enumerate(shown):
        _panel(sheet, (number % 2) * WIDTH, 0.5 + (number // 2) * PANEL_HEIGHT, panel, runs)
    return sheet.figure


def _panel(sheet: style.Sheet, x: float, y: float, panel: Panel, runs: Sequence[Run]) -> None:
    sheet.text(x + MARGIN, y, panel.title, 8)
    axes = sheet.axes(x + MARGIN, y + 0.22, WIDTH - MARGIN - 0.25, PANEL_HEIGHT - 0.75)
    axes.set_axis_on()
    axes.grid(color=style.RULE, linewidth=0.5)
    axes.tick_params(labelsize=7, colors=style.MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for run, colour in zip(runs, style.SERIES, strict=False):
        xs, ys = run.series(panel.key)
        axes.plot(xs, ys, color=colour, linewidth=1.3, marker="o" if len(xs) < 20 else None, markersize=3)
    axes.set_xlim(left=0)
    axes.set_xlabel("thousand images seen", fontsize=7, color=style.MUTED)


def table(runs: Sequence[Run]) -> Table:
    """What each run trained, its speed, and the first, last and best of each evaluation that one of them made.

    "-" stands where a run did not. The minutes are those of the steps, waiting for data included, evaluations not.
    """
    measured = [name for name in TITLES if any(run.series(f"{name}/top1")[0] for run in runs)]
    columns = ["run", "recipe", "images seen", "images/s", "minutes"]
    columns += [column for name in measured for column in (f"{TITLES[name]} before", "after", "best")]
    found = Table(*columns, box=None, pad_edge=False)
    for run in runs:
        seen, speeds = run.series("images_per_s")
        spans = [1000 * (end - start) for start, end in pairwise([0.0, *seen])]
        minutes = sum(span / speed / 60 for span, speed in zip(spans, speeds, strict=True) if speed)
        middle = sorted(speeds)[len(speeds) // 2] if speeds else 0.0
        images = f"{1000 * max(seen, default=0.0):.0f}"
        tests = [text for name in measured for text in _tests(run.series(f"{name}/top1")[1])]
        found.add_row(run.name, run.recipe.name, images, f"{middle:.0f}", f"{minutes:.1f}", *tests)
    return found


def _tests(values: Sequence[float]) -> list[str]:
    return [f"{value:.2f}" for value in (values[0], values[-1], max(values))] if values else ["-"] * 3
