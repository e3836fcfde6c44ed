"""Numbers to lines: round ticks, gaps, and a bound on the points."""

from __future__ import annotations

import math

import pytest

from lewel.visualize import chart as charts
from lewel.visualize.chart import HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, nice_ticks, number, repeated


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 4, [0, 1, 2, 3, 4]), (0, 1, [0, 0.25, 0.5, 0.75, 1]), (13.1, 18.2, [12, 14, 16, 18, 20])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high)[0] == pytest.approx(expected)


@pytest.mark.parametrize("low", [-1e9, -3.7, -1e-7, 0.0, 1e-12, 0.9991, 123456.0])
@pytest.mark.parametrize("span", [0.0, 1e-13, 1e-6, 0.03, 1.0, 7e5])
def test_ticks_hold_the_values(low: float, span: float) -> None:
    ticks, (first, last) = nice_ticks(low, low + span)
    slack = 1e-8 * max(abs(low), span)
    assert first <= low + slack and last >= low + span - slack
    assert 2 <= len(ticks) <= 7


def test_tick_labels_differ() -> None:
    for low, high in ((0.9991, 0.9998), (0, 1), (0, 1e-6), (0, 2e6), (100, 100.25)):
        ticks, _ = nice_ticks(low, high)
        labels = [number(tick, ticks) for tick in ticks]
        assert len(set(labels)) == len(labels), labels


def test_the_line_is_where_the_values_are() -> None:
    drawn = chart("t", "", {"a": [(0, 0.0), (50, 2.0), (100, 4.0)]})
    assert drawn is not None
    (line,) = drawn.lines
    assert line.dots == (
        (LEFT, drawn.bottom),
        (pytest.approx((LEFT + WIDTH - RIGHT) / 2), pytest.approx((TOP + drawn.bottom) / 2)),
        (WIDTH - RIGHT, TOP),
    )
    assert line.paths == (f"M{LEFT} {drawn.bottom}L{line.dots[1][0]:g} {line.dots[1][1]:g}L{WIDTH - RIGHT} {TOP}",)
    assert line.last == "4" and drawn.bottom < HEIGHT


def test_a_gap_breaks_the_line() -> None:
    drawn = chart("t", "", {"a": [(x, None if x == 3 else math.nan if x == 6 else 1.0 * x) for x in range(20)]})
    assert drawn is not None
    assert len(drawn.lines[0].paths) == 3


def test_no_numbers_no_chart() -> None:
    assert chart("t", "", {}) is None
    assert chart("t", "", {"a": [(1, None), (2, math.inf)]}) is None


def test_long_series_are_thinned_by_means() -> None:
    points = [(float(x), float(x % 2)) for x in range(100_000)]
    thinned = charts._thinned(points)
    assert len(thinned) <= charts.MOST_POINTS
    assert thinned[-1][0] == points[-1][0]
    assert {y for _, y in thinned} == {0.5}


def test_repeated_series_are_lines_of_one_name() -> None:
    """Each has a path of its own, the axes hold all of them, and the number is the mean of their ends."""
    drawn = repeated("t", "", {"a": [[(0, 0.0), (2, 1.0)], [(0, 4.0), (2, 2.0)]], "b": [[(1, None)]]})
    assert drawn is not None
    (line,) = drawn.lines
    assert line.last == "1.5" and len(line.paths) == 2
    assert [line.dots[0][1], line.dots[2][1]] == [drawn.bottom, TOP]
    assert drawn == repeated("t", "", {"a": [[(0, 0.0), (2, 1.0)], [(1, math.nan)], [(0, 4.0), (2, 2.0)]]})
