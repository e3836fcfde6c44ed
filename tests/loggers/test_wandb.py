"""Weights & Biases, the real package, offline: what its file holds is what `wandb sync` would send."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lewel.engine import status
from lewel.loggers.jsonl import read
from lewel.loggers.start import Start
from lewel.loggers.wandb import WandB
from runs import make_photos, pretrain, stop_after_two_steps

wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install '.[wandb]'")

BLOCK, HEAD = 32768, 7  # bytes: W&B's file is a LevelDB log


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()


class Written(NamedTuple):
    """What one start of a run left for W&B."""

    id: str
    name: str
    project: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    exit_code: int | None


def written(run: Path) -> list[Written]:
    wandb.teardown()  # ends W&B's own process, as the end of a command does: only then are all files written
    files = run.glob("wandb/offline-run-*/run-*.wandb")
    return [_written(path) for path in sorted(files, key=lambda path: path.stat().st_mtime)]


def _written(path: Path) -> Written:
    found: dict[str, list[Any]] = {kind: [] for kind in ("run", "history", "exit")}
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind in found:
            found[kind].append(getattr(record, kind))
    run, rows = found["run"][0], [_values(row.item) for row in found["history"]]
    return Written(
        run.run_id,
        run.display_name,
        run.project,
        _values(run.config.update),
        [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows],
        found["exit"][0].exit_code if found["exit"] else None,
    )


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), HEAD, b""
    while at + HEAD <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        _, size, part = struct.unpack_from("<IHB", data, at)
        parts += data[at + HEAD : at + HEAD + size]
        at += HEAD + size
        if part in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


@pytest.mark.parametrize(("state", "expected"), [("done", 0), ("stopped", 255), ("failed", 1)])
def test_numbers_config_and_the_ending(tmp_path, state, expected) -> None:
    logger = WandB("team/project", Start(tmp_path, 0, {"optimizer.lr": 0.03, "bn_groups": None}))
    rows = [{"step": 3, "loss": 0.25, "loss/global": 1}, {"step": 3, "knn/top1": 50.0}, {"step": 4, "loss": 0.125}]
    for row in rows:
        logger.write({**row, "rankme": None, "verdict": "healthy"})
    status.write(tmp_path, status.Status(4, 4, state))
    logger.close()
    (found,) = written(tmp_path)
    assert found.rows == rows and found.exit_code == expected
    assert (found.project, found.name) == ("project", tmp_path.name)
    assert found.config["optimizer.lr"] == 0.03 and found.config["bn_groups"] is None


def test_a_run_that_goes_on_does_so_in_the_same_wandb_run(tmp_path, monkeypatch, capfd) -> None:
    photos, run = make_photos(tmp_path), tmp_path / "goes-on"
    with monkeypatch.context() as patch:
        stop_after_two_steps(patch)
        assert pretrain(photos, run, "wandb:project") == 75
    assert pretrain(photos, run, "wandb:project") == 0
    first, second = written(run)
    assert first.id == second.id == json.loads((run / "loggers.json").read_text())["wandb:project"]
    assert (first.exit_code, second.exit_code) == (255, 0)
    rows = [(row["step"], row["loss"]) for row in read(run / "metrics.jsonl")]
    assert [(row["step"], row["loss"]) for row in (*first.rows, *second.rows)] == rows
    assert [step for step, _ in rows] == [1, 2, 3, 4]
    assert first.config["method.encoder.name"] == "test_resnet" and first.config["seed"] == 0


def test_one_that_cannot_log_in_is_a_warning_and_the_run_ends_well(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    photos, run = make_photos(tmp_path), tmp_path / "run"
    assert pretrain(photos, run, "wandb:project") == 0
    assert capsys.readouterr().err.count("--logger wandb:project failed (") == 1
    assert [row["step"] for row in read(run / "metrics.jsonl")] == [1, 2, 3, 4]
