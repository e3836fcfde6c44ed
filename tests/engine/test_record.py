"""What a run writes and shows."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest
from toy import TOYS, batches, save, train, training

from lewel.console import Console
from lewel.engine import checkpoint, files
from lewel.engine.health import Health
from lewel.engine.loop import Step
from lewel.engine.monitor import Monitor
from lewel.engine.progress import Progress, duration, summary
from lewel.engine.record import Record
from lewel.engine.state import Training
from lewel.loggers import opening
from lewel.loggers.jsonl import read
from lewel.loggers.start import Start


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


def monitored(run: Path, console: Console, nan_at: tuple[int, ...] = ()) -> list[dict]:
    made = training()
    record = opening.open_record(Start(run), ())
    with Progress(20, console=console) as progress:
        monitor = Monitor(made.module, record, progress, made.health, every=8)
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


def test_a_run_that_went_on_has_the_rows_of_an_unbroken_one(tmp_path: Path) -> None:
    """Stopped between two rows, after a rejected step, with a window of features that is not full."""
    expected = monitored(tmp_path / "unbroken", Console(file=io.StringIO()), nan_at=(9,))
    run = tmp_path / "run"
    for start, end in ((0, 11), (11, 13), (13, 20)):
        made = training()
        if start:
            assert checkpoint.load(checkpoint.directory(run, start), made, TOYS) == start
        record = opening.open_record(Start(run, start), ())
        monitor = Monitor(made.module, record, Progress(20, start, Console(file=io.StringIO())), made.health, every=8)

        def stop(step: Step, end: int = end, made: Training = made) -> None:
            if step.number == end < 20:
                save(run, end, made, TOYS)
                raise InterruptedError

        with suppress(InterruptedError):
            train(made, start, 20, batches(start, 20, nan_at=(9,)), callbacks=[monitor, stop])
        record.close()
    times = ("images_per_s", "data_wait", "left_s")
    rows = [
        [{name: value for name, value in row.items() if name not in times} for row in each]
        for each in (expected, read(run / "metrics.jsonl"))
    ]
    assert rows[0] == rows[1] and rows[0][2]["rejected"] == 1 and "rankme" in rows[0][2]


def test_what_a_killed_process_left_half_written_is_deleted(tmp_path: Path) -> None:
    left = (".metrics.jsonl.123.tmp", ".a b.json.7.tmp", ".99.tmp")
    for name in (*left, ".mine.tmp", "b.5.tmp", ".lock"):
        (tmp_path / name).touch()
    files.clean(tmp_path)
    files.clean(tmp_path / "not there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".mine.tmp", "b.5.tmp"]


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
    monitor = Monitor(training().module, Record(), Progress(9), Health())
    rows = [{"step": step, "loss": 1.0, "spread/toy": 0.01} for step in range(6)]
    for count in range(1, 7):
        monitor._judge(rows[:count])
    warnings = [record for record in caplog.records if "collapsing" in record.getMessage()]
    assert len(warnings) == 1 and "--lr" in warnings[0].getMessage()


def test_summary_and_durations() -> None:
    row = {"step": 3, "loss": 1.23456, "images_per_s": 6.54, "data_wait": 0.031, "left_s": 75.4, "verdict": "healthy"}
    assert summary(row) == "loss 1.235  6.5 images/s  data wait 3%  1m15s left  healthy"
    assert [duration(s) for s in (0.0, 59.6, 7300.0)] == ["0s", "1m00s", "2h01m"]
