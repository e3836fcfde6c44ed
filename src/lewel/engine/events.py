"""TensorBoard's event files: the numbers of metrics.jsonl, where TensorBoard is installed and works."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Events:
    """Writes each number of a row. After the first failure, of whatever kind, a warning says so and no more is written.

    start_step: events of later steps, by an earlier start of the run, are hidden.
    """

    def __init__(self, directory: Path, start_step: int = 0) -> None:
        self._writer: Any = None
        try:
            if importlib.util.find_spec("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter  # slow to import, and only in training

                self._writer = SummaryWriter(str(directory), purge_step=start_step + 1 if start_step else None)
        except Exception as error:  # a package that is there but broken raises anything
            self._give_up(error)

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.jsonl, which has "step"."""
        try:
            for name, value in row.items():
                if self._writer is not None and isinstance(value, int | float) and name != "step":
                    self._writer.add_scalar(name, value, row["step"])
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Wait until all is written."""
        try:
            if self._writer is not None:
                self._writer.close()
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        log.warning("no events for TensorBoard (%s: %s); all numbers are in metrics.jsonl", type(error).__name__, error)
