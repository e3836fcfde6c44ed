"""The list of what could not be read: every image once, and an end when it is too much."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lewel.data.skips import SkipLog
from lewel.errors import UserError
from lewel.shapes import Skip


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "skipped.jsonl")
    with pytest.raises(UserError, match=r"skipped\.jsonl cannot be read: it is not a regular file"):
        SkipLog(tmp_path / "skipped.jsonl", 10)


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
        "4 of 300 images cannot be read, more than 1 %: 0.jpg: empty file; 1.jpg: empty file; 2.jpg: empty file; ...; "
        "repair them and go on with --change-images, remove them and give another --out, or allow more, such as "
        "--max-unreadable 0.03 "
        f"(all: {tmp_path / 'skipped.jsonl'})"
    )
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 4


def test_more_can_be_allowed(tmp_path: Path) -> None:
    log = SkipLog(tmp_path / "skipped.jsonl", 300, most=0.03)
    log.add([Skip(f"{number}.jpg", "empty file") for number in range(9)])
    with pytest.raises(UserError, match=r"10 of 300 images cannot be read, more than 3 %.*--max-unreadable 0\.05"):
        log.add([Skip("9.jpg", "text")])


def test_mended_images_do_not_count_against_the_next_start(tmp_path: Path) -> None:
    skips = [Skip(f"{number}.jpg", "empty file") for number in range(4)]
    with pytest.raises(UserError, match="4 of 300"):
        SkipLog(tmp_path / "skipped.jsonl", 300).add(skips)
    again = SkipLog(tmp_path / "skipped.jsonl", 300)
    assert again.add(skips[:3]) == []
    with pytest.raises(UserError, match="4 of 300"):
        again.add(skips[3:])


def test_names_are_kept_byte_for_byte(tmp_path: Path) -> None:
    """A separator of lines, a line end, and a byte that is not UTF-8: read back, none is noted again."""
    names = ["a\u2028b.jpg", "two\nlines.jpg", "caf\udce9.jpg", "日本.jpg"]
    skips = [Skip(name, "empty file") for name in names]
    SkipLog(tmp_path / "skipped.jsonl", 10_000).add(skips)
    content = (tmp_path / "skipped.jsonl").read_bytes()
    assert [json.loads(line)["path"] for line in content.decode().split("\n")[:-1]] == names
    assert SkipLog(tmp_path / "skipped.jsonl", 10_000).add(skips) == []
    assert (tmp_path / "skipped.jsonl").read_bytes() == content
