"""metrics.jsonl."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from pathlib import Path

import pytest

from lewel import lines
from lewel.engine import files
from lewel.engine.record import Record
from lewel.errors import UserError
from lewel.loggers.jsonl import Jsonl, read


def test_rows_come_back_and_later_ones_are_dropped_on_resume(tmp_path: Path) -> None:
    logger = Jsonl(tmp_path)
    for step in (10, 20, 30):
        logger.write({"step": step, "loss": 1 / step})
    logger.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 35, "lo')  # the crash came here
    resumed = Jsonl(tmp_path, 20)
    resumed.write({"step": 30, "loss": 7.0})
    resumed.close()
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [10, 20, 30]
    assert read(tmp_path / "metrics.jsonl") == resumed.rows and resumed.rows[2]["loss"] == 7.0


def test_what_is_no_row_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    wrong = [
        b'{"step": "3"}',
        b'{"step": 3, "loss": "low"}',
        b"[1]",
        b"\xff\xfe",
        b'{"step": 3, "a": ["1"]}',
        b"x",
        b"7",
    ]
    path.write_bytes(b"\n".join([b'{"step": 2, "loss": null, "verdict": "healthy"}', *wrong, b'{"step": 4', b""]))
    with caplog.at_level(logging.WARNING, logger="lewel"):
        resumed = Jsonl(tmp_path, 9)
    resumed.close()
    assert resumed.rows == [{"step": 2, "loss": None, "verdict": "healthy"}] == read(path)
    assert f"{path}: 8 lines are not as lewel writes them and are left out" in caplog.text


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, make) -> None:
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be read: it is not a regular file"):
        Jsonl(tmp_path)


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    record = Record([Jsonl(tmp_path)])
    record.write({"step": 1, "loss": math.nan, "gradient_norm": math.inf, "verdict": "collapsing"})
    record.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"step": 1, "loss": None, "gradient_norm": None, "verdict": "collapsing"}


def full(path: Path, data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_full_disk_is_told_once_and_later_the_file_has_all_rows(tmp_path: Path, monkeypatch, caplog) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        patch.setattr(lines, "_append", full)
        logger = Jsonl(tmp_path)
        for step in (1, 2):
            logger.write({"step": step})
    assert [message.split(" (")[1] for message in caplog.messages] == [
        "No space left on device; make room); the run goes on without it"
    ]
    assert not (tmp_path / "metrics.jsonl").exists()
    for step in (3, 4):
        logger.write({"step": step})
    logger.close()
    assert read(tmp_path / "metrics.jsonl") == [{"step": step} for step in (1, 2, 3, 4)]


def test_a_start_from_step_0_begins_anew(tmp_path: Path) -> None:
    """The first evaluation is done again, as the kill came before the first checkpoint."""
    for value in (1.0, 2.0):
        logger = Jsonl(tmp_path)
        logger.write({"step": 0, "knn/top1": value})
        logger.close()
    assert read(tmp_path / "metrics.jsonl") == [{"step": 0, "knn/top1": 2.0}]
