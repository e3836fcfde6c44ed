"""Line charts as plain numbers for an SVG: the page's template draws them in the page's own colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 420, 190  # user units of the SVG
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 24
MOST_POINTS = 400  # a line has no more; longer series are thinned by means

Point = tuple[float, float]
Series = Sequence[tuple[float, float | None]]  # step, value; None: missing or not finite


class Tick(NamedTuple):
    at: float
    label: str


class Line(NamedTuple):
    """paths: SVG paths, more than one where values are missing.  last: the final value as text."""

    name: str
    paths: tuple[str, ...]
    dots: tuple[Point, ...]  # where a path would have one point, or there are few points
    last: str


class Chart(NamedTuple):
    """A line chart in user units. The steps begin at 0, so that all charts of a page share their axis."""

    title: str
    about: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(title: str, about: str, series: Mapping[str, Series]) -> Chart | None:
    """A chart of named (step, value) series; None where no value is a finite number.

    A missing or non-finite value breaks its line.
    """
    return repeated(title, about, {name: [points] for name, points in series.items()})


def repeated(title: str, about: str, series: Mapping[str, Sequence[Series]]) -> Chart | None:
    """The same where a name has several series, such as seeds: lines of one colour, whose last values are averaged."""
    lines = {name: [each for each in map(_cleaned, several) if each] for name, several in series.items()}
    lines = {name: several for name, several in lines.items() if several}
    if not lines:
        return None
    xs = [x for several in lines.values() for points in several for x, _ in points]
    ys = [y for several in lines.values() for points in several for _, y in points if y is not None]
    x_low, x_high = 0.0, max([1.0, *xs])
    y_ticks, (y_low, y_high) = nice_ticks(min(ys), max(ys))

    def x_at(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y_at(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    x_ticks, _ = nice_ticks(x_low, x_high)

    def placed(points: Series) -> Series:
        return [(x_at(x), None if y is None else y_at(y)) for x, y in points]

    return Chart(
        title,
        about,
        tuple(Tick(x_at(x), number(x, x_ticks)) for x in x_ticks if x <= x_high),
        tuple(Tick(y_at(y), number(y, y_ticks)) for y in y_ticks),
        tuple(_line(name, [placed(points) for points in several], several) for name, several in lines.items()),
    )


def nice_ticks(low: float, high: float, most: int = 5) -> tuple[list[float], tuple[float, float]]:
    """At most `most` + 1 round numbers that hold low and high between them, and their ends."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-30):
        room = abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    return ticks, (ticks[0], ticks[-1])


def number(value: float, among: Sequence[float] = ()) -> str:
    """A short text; ticks get as many digits as tell them apart."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if among:
        step = abs(among[1] - among[0])
        return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9), _digits(step))}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _digits(step: float) -> int:
    """Decimals of a step like 0.25, which has one more than its power of ten."""
    return next((n for n in range(12) if math.isclose(step, round(step, n), rel_tol=1e-9)), 0)


def _finite(value: float | None) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _thinned(points: Series) -> list[tuple[float, float | None]]:
    """Means of equal runs of points, so many that no more than `MOST_POINTS` are left; a run with a gap stays a gap."""
    run = math.ceil(len(points) / MOST_POINTS)
    if run <= 1:
        return list(points)
    thinned = []
    for start in range(0, len(points), run):
        part = points[start : start + run]
        values = [y for _, y in part if y is not None]
        thinned.append((part[-1][0], sum(values) / len(values) if len(values) == len(part) else None))
    return thinned


def _cleaned(points: Series) -> Series:
    """Thinned, with None for what is not finite; empty where nothing is left."""
    found = _thinned([(x, _finite(y)) for x, y in points])
    return found if any(y is not None for _, y in found) else []


def _line(name: str, placed: Sequence[Series], several: Sequence[Series]) -> Line:
    runs: list[list[Point]] = []
    for points in placed:
        runs.append([])
        for x, y in points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append((x, y))
    paths = tuple("M" + "L".join(f"{x:g} {y:g}" for x, y in run) for run in runs if len(run) > 1)
    few = max(map(len, placed)) <= 12
    dots = tuple(point for run in runs for point in run if few or len(run) == 1)
    lasts = [next(y for _, y in reversed(points) if y is not None) for points in several]
    return Line(name, paths, dots, number(sum(lasts) / len(lasts)))
