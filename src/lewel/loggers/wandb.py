"""Weights & Biases: `--logger wandb:PROJECT`."""

from __future__ import annotations

import importlib
import secrets
from typing import Any

from lewel.engine.record import Row, numbers
from lewel.loggers.start import Start

_EXIT_CODES = {"done": 0, "stopped": 255, "failed": 1}  # 255: what W&B itself records for Ctrl-C


class WandB:
    """A W&B run named as the run directory. A run that goes on has the same id there.

    W&B's own numbering of rows only grows. Rows therefore carry "step" as a number, and W&B plots against it: rows that
    come again after a kill do no harm.
    """

    def __init__(self, project: str, start: Start) -> None:
        """
        Args:
            project: PROJECT or ENTITY/PROJECT; "" for W&B's own default (WANDB_PROJECT).
            start: the run.
        """
        wandb: Any = importlib.import_module("wandb")
        entity, _, name = project.rpartition("/")
        key = f"wandb:{project}"
        self._start = start
        id = start.id_of(key) or secrets.token_hex(4)
        start.keep_id(key, id)  # before W&B knows it: a kill in between must not make two runs
        self._run = wandb.init(
            project=name or None,
            entity=entity or None,
            id=id,
            resume="allow",
            name=start.directory.absolute().name,
            dir=start.directory,
            config=dict(start.config),
            settings=wandb.Settings(console="off"),  # train.log has what the screen says
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, row: Row) -> None:
        self._run.log({"step": row["step"], **numbers(row)})

    def close(self) -> None:
        self._run.finish(exit_code=_EXIT_CODES[self._start.ending()])
