"""MLflow: `--logger mlflow:URI`."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from lewel.engine.record import Row, numbers
from lewel.loggers.start import Start

# MLflow's defaults try a server that is gone for many minutes, in which training waits. Set, they are the user's.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}  # seconds; tries
_PARAMS_A_BATCH = 100  # MLflow's limit
_STATUS = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow:
    """An MLflow run named as the run directory, in the experiment MLFLOW_EXPERIMENT_NAME or "lewel".

    A run that goes on does so in the same MLflow run. A metric of a step that comes again after a kill stands there
    twice.
    """

    def __init__(self, uri: str, start: Start) -> None:
        """
        Args:
            uri: of the tracking server or store; "" for MLflow's own default (MLFLOW_TRACKING_URI).
            start: the run.
        """
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        self._entities: Any = importlib.import_module("mlflow.entities")
        self._client: Any = importlib.import_module("mlflow").MlflowClient(tracking_uri=uri or None)
        self._start, key = start, f"mlflow:{uri}"
        self._id = start.id_of(key) or ""
        if self._id:
            self._client.update_run(self._id, status="RUNNING")
            return
        run = self._client.create_run(self._experiment(), run_name=start.directory.absolute().name)
        self._id = run.info.run_id
        start.keep_id(key, self._id)
        params = [self._entities.Param(name, str(value)) for name, value in start.config.items()]
        for first in range(0, len(params), _PARAMS_A_BATCH):
            self._client.log_batch(self._id, params=params[first : first + _PARAMS_A_BATCH])

    def write(self, row: Row) -> None:
        now = round(time.time() * 1000)  # ms
        metrics = [self._entities.Metric(name, value, now, row["step"]) for name, value in numbers(row).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id, status=_STATUS[self._start.ending()])

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lewel"
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found is not None else self._client.create_experiment(name)
