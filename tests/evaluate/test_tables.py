"""Tables: what they show, and files that other programs read back without loss."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_results import a_result, a_run, strict

from lewel.console import Console
from lewel.evaluate import tables


@pytest.fixture
def written(tmp_path: Path) -> Path:
    first = a_result(
        a_run(0, top1=1 / 3, decay=3e-4), a_run(1, top1=2 / 3, decay=3e-4), label="a|b\nc <i>", protocol="x[epochs=5]"
    )
    tables.write(tmp_path, [first, a_result(a_run(0, top1=60.0, top5=99.0, per_class={"a": 1.0}))])
    return tmp_path


def test_markdown(written: Path) -> None:
    """No name can add a cell or a line, or become HTML."""
    lines = (written / "table.md").read_text().splitlines()
    assert lines[4:] == [
        "",
        "top-1, top-5: without an interval, so no best is marked.",
        "",
        r"a\|b c &lt;i>, mine: 1 of 4 images of val left out: they could not be read.",
    ]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:4]]
    assert rows == [
        ["weights", "protocol", "px", "top-1", "decay", "top-5", "seeds"],
        ["---", "---", "---:", "---:", "---:", "---:", "---:"],
        [r"a\|b c &lt;i>", "x[epochs=5]", "64", "0.50 ± 0.24", "0.0003 ± 0", "", "2"],
        ["mine", "knn-k20-t0.07", "64", "60.00", "", "99.00", "1"],
    ]


def test_csv_and_json_are_exact(written: Path) -> None:
    rows = strict((written / "table.json").read_text())
    assert rows[0]["top1"] == 0.5 and rows[0]["top1_std"] == pytest.approx(math.sqrt(1 / 18), abs=1e-15)
    assert rows[1] == {
        "weights": "mine",
        "protocol": "knn-k20-t0.07",
        "px": 64,
        "seeds": 1,
        "deterministic": False,
        "top1": 60.0,
        "top5": 99.0,
        "weights_digest": "w",
        "protocol_digest": "p",
    }
    with open(written / "table.csv", newline="") as file:
        read = list(csv.DictReader(file))
    for row, found in zip(rows, read, strict=True):
        assert {name: text for name, text in found.items() if text} == {name: str(v) for name, v in row.items()}


def test_the_screen_shows_brackets() -> None:
    """They say what was changed in a protocol; rich would take them for its markup."""
    output = io.StringIO()
    console = Console(file=output, width=60)
    found = [a_result(a_run(0, top1=1.0, top5=5.0), protocol="linear[epochs=5]", label=label) for label in ("a", "b")]
    console.print(tables.table(found))
    lines = [line.strip() for line in output.getvalue().splitlines()]
    assert lines[0] == "linear[epochs=5]" and [line.split() for line in lines[-2:]] == [
        ["a", "64", "1.00", "5.00", "1"],
        ["b", "64", "1.00", "5.00", "1"],
    ]
    console.print(tables.table([*found, a_result(a_run(0, top1=1.0), protocol="linear[lr=1]")]))
    assert "linear[lr=1]" in output.getvalue()


def test_what_is_deterministic_has_no_spread(tmp_path: Path) -> None:
    tables.write(tmp_path, [a_result(a_run(0, top1=50.0), deterministic=True)])
    assert "| 50.00 | deterministic |" in (tmp_path / "table.md").read_text()
    (row,) = strict((tmp_path / "table.json").read_text())
    assert row["deterministic"] is True and "top1_std" not in row


def test_intervals_and_the_best(tmp_path: Path) -> None:
    """In every form; a mark only where it is said who is best."""
    best = replace(a_result(a_run(0, top1=60.0), label="a"), intervals={"top1": (55.04, 64.96)}, best=("top1",))
    other = replace(a_result(a_run(0, top1=50.0), label="b"), intervals={"top1": (45.0, 55.0)})
    tables.write(tmp_path, [best, other])
    markdown = (tmp_path / "table.md").read_text()
    assert "| **60.00** [55.0, 65.0] |" in markdown and "| 50.00 [45.0, 55.0] |" in markdown
    assert "\nIn brackets: 95 % interval, by bootstrap over images. Bold: best, as " in markdown
    first, second = strict((tmp_path / "table.json").read_text())
    assert (first["top1_low"], first["top1_high"], first["top1_best"]) == (55.04, 64.96, True)
    assert second["top1_low"] == 45.0 and "top1_best" not in second
    output = io.StringIO()
    Console(file=output, width=100).print(tables.table([best, other]))
    assert "60.00* [55.0,65.0]" in output.getvalue() and "50.00 [45.0,55.0]" in output.getvalue()
    (alone,) = tables.legend([other], "*")
    assert alone == "In brackets: 95 % interval, by bootstrap over images."
    detected = [a_result(a_run(0, AP=60.0), label=label) for label in "ab"]
    assert tables.legend(detected, "*") == ["AP: no means over images, and without an interval, so no best is marked."]
