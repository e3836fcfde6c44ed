"""TensorBoard's event files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lewel.loggers import opening
from lewel.loggers.jsonl import read
from lewel.loggers.start import Start

pytest.importorskip("tensorboard")


def scalars(directory: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(event.step, event.value) for event in EventAccumulator(str(directory)).Reload().Scalars(name)]


def test_event_files_have_the_numbers_where_it_is_installed(tmp_path: Path) -> None:
    record = opening.open_record(Start(tmp_path), opening.parse(()))
    record.write({"step": 5, "loss": 0.25, "verdict": "healthy", "lr": None})
    record.close()
    assert scalars(tmp_path, "loss") == [(5, 0.25)]


def test_they_go_where_the_flag_says_and_nowhere_else(tmp_path: Path) -> None:
    run, events = tmp_path / "run", tmp_path / "events"
    record = opening.open_record(Start(run), opening.parse([f"tensorboard:{events}"]))
    record.write({"step": 1, "loss": 0.5})
    record.close()
    assert scalars(events, "loss") == [(1, 0.5)]
    assert [path.name for path in run.iterdir()] == ["metrics.jsonl"]


def test_rows_that_come_again_after_a_kill_stand_there_once(tmp_path: Path) -> None:
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        record = opening.open_record(Start(tmp_path, start), opening.parse(()))
        for step in steps:
            record.write({"step": step, "loss": float(start)})
        record.close()
    assert scalars(tmp_path, "loss") == [(1, 0.0), (2, 0.0), (3, 2.0), (4, 2.0)]


@pytest.mark.parametrize("fault", ["import", "write"])
def test_one_that_does_not_work_is_a_warning(tmp_path: Path, monkeypatch, caplog, fault) -> None:
    if fault == "import":
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    record = opening.open_record(Start(tmp_path), opening.parse(()))
    if fault == "write":
        monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", lambda *_: 1 / 0)
    for step in (1, 2):
        record.write({"step": step, "loss": 1.0})
    record.close()
    (told,) = caplog.messages
    assert "ensor" in told and told.endswith("no more rows go there, all numbers are in metrics.jsonl")
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [1, 2]
