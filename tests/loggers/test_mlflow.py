"""MLflow, the real package, with a store in a local SQLite file."""

from __future__ import annotations

import os

import pytest

from lewel.engine import status
from lewel.loggers import opening
from lewel.loggers.jsonl import read
from lewel.loggers.mlflow import MLflow
from lewel.loggers.start import Start
from runs import make_photos, pretrain, stop_after_two_steps

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install '.[mlflow]'")
pytest.importorskip("sqlalchemy", reason="MLflow's SQLite store is not installed: pip install '.[mlflow]'")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'store.db'}"


def runs(store: str, name: str) -> list:
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("lewel")
    return [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name]


def history(store: str, id: str, metric: str) -> list[tuple[int, float]]:
    found = mlflow.MlflowClient(tracking_uri=store).get_metric_history(id, metric)
    return [(each.step, each.value) for each in found]


@pytest.mark.parametrize(("state", "expected"), [("done", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_numbers_params_and_the_ending(store, tmp_path, state, expected) -> None:
    directory = tmp_path / state
    directory.mkdir()
    config = {f"views.{number}.blur": 0.5 for number in range(250)} | {"optimizer.lr": 0.03, "bn_groups": None}
    logger = MLflow(store, Start(directory, 0, config))
    assert runs(store, state)[0].info.status == "RUNNING"
    logger.write({"step": 3, "loss": 0.25, "loss/global": 1, "rankme": None, "verdict": "healthy"})
    logger.write({"step": 3, "knn/top1": 50.0})
    status.write(directory, status.Status(3, 3, state))
    logger.close()
    (run,) = runs(store, state)
    assert run.info.status == expected
    assert run.data.metrics == {"loss": 0.25, "loss/global": 1.0, "knn/top1": 50.0}
    assert history(store, run.info.run_id, "loss") == [(3, 0.25)]
    assert run.data.params == {name: str(value) for name, value in config.items()}


def test_a_run_that_ends_without_a_word_has_failed(store, tmp_path) -> None:
    status.write(tmp_path, status.Status(3, 9, "running"))
    logger = MLflow(store, Start(tmp_path))
    logger.close()
    assert [run.info.status for run in runs(store, tmp_path.name)] == ["FAILED"]


def test_a_run_that_goes_on_does_so_in_the_same_mlflow_run(store, tmp_path, monkeypatch) -> None:
    photos, run = make_photos(tmp_path), tmp_path / "goes-on"
    with monkeypatch.context() as patch:
        stop_after_two_steps(patch)
        assert pretrain(photos, run, f"mlflow:{store}") == 75
    assert [found.info.status for found in runs(store, "goes-on")] == ["KILLED"]
    assert pretrain(photos, run, f"mlflow:{store}") == 0
    (found,) = runs(store, "goes-on")
    assert found.info.status == "FINISHED"
    rows = [(row["step"], row["loss"]) for row in read(run / "metrics.jsonl")]
    assert [step for step, _ in rows] == [1, 2, 3, 4]
    assert history(store, found.info.run_id, "loss") == rows
    assert found.data.params["seed"] == "0" and found.data.params["method.encoder.name"] == "test_resnet"


def test_a_store_that_is_gone_is_a_warning_and_the_run_ends_well(tmp_path, monkeypatch, caplog) -> None:
    """At the start, and later at a row: port 9 of this machine answers nobody."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    record = opening.open_record(Start(tmp_path), opening.parse(["mlflow:http://127.0.0.1:9"])[:1])
    record.write({"step": 1, "loss": 1.0})
    store = tmp_path / "store.db"
    opened = MLflow(f"sqlite:///{store}", Start(tmp_path))
    later = opening.open_record(Start(tmp_path, 1), (), [opened])
    later.write({"step": 2, "loss": 1.0})
    monkeypatch.setattr(opened, "_id", "no such run")
    for step in (3, 4):
        later.write({"step": step, "loss": 1.0})
    later.close()
    assert [message.split(" failed (")[0] for message in caplog.messages if "no more rows" in message] == [
        "--logger mlflow:http://127.0.0.1:9",
        "MLflow",
    ]
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_the_users_patience_with_a_server_stands(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    MLflow(store, Start(tmp_path))
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77" and os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
