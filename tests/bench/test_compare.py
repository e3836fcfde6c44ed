"""A benchmark that can be believed finds a known difference, and none where there is none."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from lewel.bench import compare
from lewel.errors import UserError


def busy(milliseconds: float) -> None:
    end = time.thread_time() + milliseconds / 1000  # of this thread, so that a busy machine stretches both alike
    while time.thread_time() < end:
        pass


def test_twice_the_work_takes_twice_as_long_and_the_same_as_long() -> None:
    contenders = [
        compare.Contender("one", lambda: busy(4), 10),
        compare.Contender("two", lambda: busy(8), 10),
        compare.Contender("twice the images", lambda: busy(8), 20),
    ]
    one, again, two, twice = compare.interleaved(contenders, rounds=9, warm_up=0)
    assert [one.ratio, one.low, one.high] == [1, 1, 1]
    assert again.name == compare.CONTROL
    for result, expected in ((again, 1), (two, 0.5), (twice, 1)):
        assert result.ratio == pytest.approx(expected, rel=0.25)
        assert result.low <= result.ratio <= result.high


def test_contenders_go_there_and_back() -> None:
    seen: list[str] = []
    contenders = [compare.Contender(name, lambda name=name: seen.append(name), 1) for name in "ABC"]
    compare.interleaved(contenders, rounds=3, warm_up=1)
    assert "".join(seen) == "ABC" + 3 * ("AABC" + "CBAA")


def test_interval_covers_the_median_of_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        _, low, high = compare.interval(rng.normal(1, 0.1, 25), trial)
        hits += low <= 1 <= high
    assert hits >= 180  # 95 % of 200, less four standard deviations


def test_every_figure_is_in_the_file(tmp_path: Path) -> None:
    results = compare.interleaved([compare.Contender("one", lambda: busy(1), 2)], rounds=3)
    rows = [compare.as_dict(result) for result in results]
    compare.save(tmp_path / "bench.json", "lewel bench data", {"rounds": 3}, rows)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [len(result["seconds"]) for result in found["results"]] == [6, 6]
    assert found["machine"]["torch"] and found["settings"] == {"rounds": 3}
    with pytest.raises(UserError, match="--json"):
        compare.save(tmp_path / "none" / "bench.json", "", {}, rows)


def test_too_few_rounds() -> None:
    with pytest.raises(UserError, match="--rounds 2"):
        compare.interleaved([compare.Contender("one", lambda: None, 1)], rounds=2)
