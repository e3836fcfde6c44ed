"""What a run writes and shows."""

from __future__ import annotations

import io
import json
import logging
import math
from pathlib import Path

import pytest
from rich.console import Console
from toy import batches, train, training

from lewel.engine import files
from lewel.engine.monitor import Monitor
from lewel.engine.progress import Progress, duration, summary
from lewel.engine.record import Record, logging_to, read
from lewel.errors import UserError


def test_rows_come_back_and_later_ones_are_dropped_on_resume(tmp_path: Path) -> None:
    record = Record(tmp_path).open()
    for step in (10, 20, 30):
        record.write({"step": step, "loss": 1 / step})
    record.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 35, "lo')  # the crash came here
    resumed = Record(tmp_path).open(20)
    resumed.write({"step": 30, "loss": 7.0})
    resumed.close()
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [10, 20, 30]
    assert read(tmp_path / "metrics.jsonl") == resumed.rows and resumed.rows[2]["loss"] == 7.0


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    record = Record(tmp_path).open()
    record.write({"step": 1, "loss": math.nan, "gradient_norm": math.inf, "verdict": "collapsing"})
    record.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"step": 1, "loss": None, "gradient_norm": None, "verdict": "collapsing"}


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Record(tmp_path).open()
    record.write({"step": 5, "loss": 0.25, "verdict": "healthy"})
    record.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(5, 0.25)]


def test_a_disk_without_room_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "replace", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl not written: No space left.*--run"):
        Record(tmp_path).open()


def test_replace_leaves_the_old_or_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.replace(path, b"old")

    def full(file: Path, data: bytes) -> str:
        file.write_bytes(data[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full)
        with pytest.raises(OSError, match="No space"):
            files.replace(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.json"]
    files.replace(path, b"new")
    assert path.read_bytes() == b"new"


def test_messages_go_to_the_log_file_and_warnings_to_the_screen_too(tmp_path: Path) -> None:
    screen = io.StringIO()
    with logging_to(tmp_path, Console(file=screen)):
        logging.getLogger("lewel.engine").warning("a name in bytes: %s", "b\udcff.jpg")
        logging.getLogger("lewel.engine").info("for the file alone")
    logging.getLogger("lewel.engine").warning("after the run")
    written = (tmp_path / "train.log").read_text()
    assert "WARNING a name in bytes: b\\udcff.jpg" in written and "INFO for the file alone" in written
    assert screen.getvalue() == "warning: a name in bytes: b\\udcff.jpg\n"
    assert "after the run" not in written


def monitored(run: Path, console: Console, nan_at: tuple[int, ...] = ()) -> list[dict]:
    made = training()
    record = Record(run).open()
    with Progress(20, console=console) as progress:
        monitor = Monitor(made.module, record, progress, every=8)
        train(made, 0, 20, batches(0, 20, nan_at=nan_at), callbacks=[monitor])
    record.close()
    return read(run / "metrics.jsonl")


def test_a_run_is_logged_at_the_first_every_nth_and_last_step(tmp_path: Path) -> None:
    rows = monitored(tmp_path, Console(file=io.StringIO()), nan_at=(2, 9))
    assert [row["step"] for row in rows] == [1, 8, 16, 20]
    assert [row["rejected"] for row in rows] == [0, 1, 1, 0]
    assert all(row["images_per_s"] > 0 and 0 <= row["data_wait"] <= 1 for row in rows)
    assert {"loss", "lr", "gradient_norm", "loss/toy", "spread/toy", "verdict", "left_s"} <= set(rows[0])
    assert rows[-1]["left_s"] == 0


def test_without_a_terminal_the_progress_is_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    monitored(tmp_path, Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2  # the first and the last: the run took less than half a minute
    assert lines[0].startswith("step 1/20  loss ") and lines[-1].startswith("step 20/20  loss ")
    assert "images/s" in lines[-1] and "data wait" in lines[-1]


def test_on_a_terminal_it_is_a_bar(tmp_path: Path) -> None:
    out = io.StringIO()
    monitored(tmp_path, Console(file=out, width=160, force_terminal=True))
    assert "20/20" in out.getvalue() and "images/s" in out.getvalue()


def test_a_collapse_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor(training().module, Record(tmp_path).open(), Progress(9))
    rows = [{"step": step, "loss": 1.0, "spread/toy": 0.01} for step in range(6)]
    for count in range(1, 7):
        monitor._judge(rows[:count])
    warnings = [record for record in caplog.records if "collapsing" in record.getMessage()]
    assert len(warnings) == 1 and "--lr" in warnings[0].getMessage()


def test_summary_and_durations() -> None:
    row = {"step": 3, "loss": 1.23456, "images_per_s": 6.54, "data_wait": 0.031, "left_s": 75.4, "verdict": "healthy"}
    assert summary(row) == "loss 1.235  6.5 images/s  data wait 3%  1m15s left  healthy"
    assert [duration(s) for s in (0.0, 59.6, 7300.0)] == ["0s", "1m00s", "2h01m"]
