"""An evaluation that was stopped, however, ends as one that was not, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import stops

from lewel.engine import files
from lewel.engine.loop import Step
from lewel.engine.signals import Interrupted
from lewel.errors import UserError
from lewel.evaluate import finetune, linear, predictions, training
from lewel.evaluate.job import Job
from lewel.evaluate.job import Task as Evaluate
from lewel.evaluate.protocols import Task
from lewel.evaluate.tasks import Finetune, Linear

LINEAR = Linear("lars", 3.2, 8, 4, evaluate_every=1, rates=(1.0, 4.0), decays=(0.0,))  # 3 steps an epoch
SEMI = Finetune("sgd", 0.1, 0.01, 8, 3, 1e-4, milestones=(1, 2), bn_images=4, evaluate_every=1)
ATTRIBUTES = Finetune(
    "adamw", 1e-3, 1e-4, 8, 3, 0.05, warmup_epochs=1, head="mlp", views="face", multilabel=True, evaluate_every=1
)
ENCODER = little.encoder()
SPEEDS = ("images_per_s", "data_wait", "left_s")


@pytest.fixture(autouse=True)
def checkpoints_after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LEAST_STEPS", 1)
    monkeypatch.setattr(training, "LOG_STEPS", 2)


def job(task: Task, directory: Path) -> Job:
    train, val = (little.planes(little.colours(n, seed), noise=60) for n, seed in ((20, 0), (30, 1)))
    if isinstance(task, Finetune) and task.multilabel:
        random = np.random.default_rng(0)
        on = little.data(*(little.labelled(x, random.integers(0, 2, (len(x), 3), np.uint8)) for x in (train, val)))
    else:
        on = little.data(little.labelled(train), little.labelled(val))
    return little.job(task, little.subject(None if isinstance(task, Linear) else ENCODER), on, directory)


def done(job: Job) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, np.ndarray]]:
    """Values, the record's rows but for their speeds, and predictions."""
    evaluate: Evaluate = linear.evaluate if isinstance(job.protocol.task, Linear) else finetune.evaluate
    values = dict(evaluate(job))
    rows = [json.loads(line) for line in (job.directory / "metrics.jsonl").read_text().splitlines()]
    arrays = predictions.load(job.directory / predictions.NAME)
    return values, [{k: v for k, v in row.items() if k not in SPEEDS} for row in rows], arrays


@pytest.mark.parametrize(
    ("task", "steps"),
    [(LINEAR, (1, 3, 4, 6, 11, 12)), (SEMI, (5,)), (ATTRIBUTES, (4,))],
    ids=["linear", "semi", "faces"],
)
@pytest.mark.parametrize(
    ("how", "first"), [(stops.ask, True), (stops.crash, True), (stops.crash, False)], ids=["asked", "in", "after"]
)
def test_stopped_and_started_again_is_unbroken(
    task: Task, steps: Any, how: Callable[[Step], None], first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, rows, arrays = done(job(task, tmp_path / "unbroken"))
    for number in steps:
        again = job(task, tmp_path / str(number))
        with monkeypatch.context() as patch, pytest.raises((RuntimeError, Interrupted)) as stopped:
            stops.after(number, how, first, patch)
            done(again)
        assert isinstance(stopped.value, Interrupted) == (how is stops.ask)
        found, found_rows, found_arrays = done(again)
        assert found == values and found_rows == rows
        assert found_arrays.keys() == arrays.keys()
        assert all(np.array_equal(found_arrays[name], array) for name, array in arrays.items())


def test_the_best_is_a_row_of_the_record_though_another_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a job that goes on may come to other bits; what it saw before it was killed does not count."""
    given = job(LINEAR, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stops.after(6, stops.crash, False, patch)
        outcome = linear._outcome

        def too_good(*arguments: Any) -> Any:
            found, top1 = outcome(*arguments)
            found.predicted[:] = found.labels
            found.rank[:] = 0
            return found, [100.0 for _ in top1]

        patch.setattr(training._Save, "__call__", lambda *_: None)
        patch.setattr(linear, "_outcome", too_good)
        done(given)
    values, rows, arrays = done(given)
    assert values["top1"] == max(row["top1"] for row in rows if "top1" in row) < 100
    assert 100 * (arrays["predicted"] == arrays["labels"]).mean() == pytest.approx(values["top1"])


def test_a_damaged_checkpoint_is_said_and_the_job_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected, given = done(job(LINEAR, tmp_path / "whole")), job(LINEAR, tmp_path / "damaged")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stops.after(7, stops.crash, False, patch)
        done(given)
    (saved,) = tmp_path.glob("damaged/checkpoints/step-*/module.safetensors")
    saved.write_bytes(saved.read_bytes()[:-1] + b"?")
    found = done(given)
    assert found[:2] == expected[:2]
    assert f"{saved} is damaged: its sha256 differs; the job begins anew" in caplog.text


def test_what_only_an_unfinished_job_needs_is_deleted(tmp_path: Path) -> None:
    given = job(LINEAR, tmp_path)
    done(given)
    assert (tmp_path / "checkpoints").is_dir() and (tmp_path / training.BEST).is_dir()
    training.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if "events" not in path.name) == [
        "metrics.jsonl",
        "predictions.npz",
    ]


def test_rates_are_the_protocols_step_by_step() -> None:
    rate = training.schedule(SEMI, 10)
    assert [rate(step) for step in (0, 9, 10, 19, 20, 29)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    rate = training.schedule(LINEAR, 10)
    assert [rate(step) for step in (0, 9, 10, 20, 39)] == pytest.approx(
        [3.2, 3.2, 3.2 * 0.8535534, 1.6, 3.2 * 0.1464466]
    )
    warm = Finetune("adamw", 2e-4, 2e-4, 8, 3, 0.05, warmup_epochs=1, lr_last=1e-6)
    rate = training.schedule(warm, 10)
    assert [rate(step) for step in (0, 4, 9, 10, 20)] == pytest.approx([2e-5, 1e-4, 2e-4, 2e-4, 1.005e-4])
    assert rate(29) == pytest.approx(1e-6 + 1.99e-4 * (1 - 0.98768834) / 2)


def test_a_full_disk_is_told_without_flags_that_an_evaluation_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job(LINEAR, tmp_path)

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_synced", full)
    with pytest.raises(UserError, match=r"step-\d+ not written \(No space left on device; make room\); .*same command"):
        done(other)
