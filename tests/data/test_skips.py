"""The list of what could not be read: every image once, and an end when it is too much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lewel.data.skips import SkipLog
from lewel.errors import UserError
from lewel.shapes import Skip


def test_skips_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "skipped.jsonl"
    log = SkipLog(path, 1000)
    first, second = Skip("b/é \\xff.jpg", "empty file"), Skip("a.jpg", "damaged")
    assert log.add([]) == []
    assert not path.exists()
    assert log.add([first, first]) == [first]
    assert log.add([first, second]) == [second]
    with path.open("a") as file:
        file.write('{"path": "half')  # a run that was killed while it wrote
    again = SkipLog(path, 1000)
    assert again.add([second, first]) == []
    assert again.add([Skip("c.jpg", "late")]) == [Skip("c.jpg", "late")]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in (*lines[:2], lines[3])] == [
        {"path": "b/é \\xff.jpg", "reason": "empty file"},
        {"path": "a.jpg", "reason": "damaged"},
        {"path": "c.jpg", "reason": "late"},
    ]
    assert len(lines) == 4


def test_more_than_one_percent_stops(tmp_path: Path) -> None:
    log = SkipLog(tmp_path / "skipped.jsonl", 300)
    log.add([Skip(f"{number}.jpg", "empty file") for number in range(3)])  # exactly 1 %
    with pytest.raises(UserError) as caught:
        log.add([Skip("3.jpg", "text")])
    assert str(caught.value) == (
        "4 of 300 images cannot be read, more than 1%: 0.jpg: empty file; 1.jpg: empty file; 2.jpg: empty file; ... "
        f"(all in {tmp_path / 'skipped.jsonl'}); "
        "repair them and go on, or remove them and give another --run"
    )
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 4


def test_mended_images_do_not_count_against_the_next_start(tmp_path: Path) -> None:
    skips = [Skip(f"{number}.jpg", "empty file") for number in range(4)]
    with pytest.raises(UserError, match="4 of 300"):
        SkipLog(tmp_path / "skipped.jsonl", 300).add(skips)
    again = SkipLog(tmp_path / "skipped.jsonl", 300)
    assert again.add(skips[:3]) == []
    with pytest.raises(UserError, match="4 of 300"):
        again.add(skips[3:])
