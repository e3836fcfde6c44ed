"""What a run leaves to read: metrics.jsonl, TensorBoard's events, train.log. Only process 0 writes."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from lewel.engine import files
from lewel.errors import UserError

log = logging.getLogger(__name__)


class Record:
    """metrics.jsonl, one JSON object a line, and the same numbers for TensorBoard where it is installed.

    Open it on process 0; on others it takes rows and writes nothing.
    """

    def __init__(self, run: Path, flag: str = "--run"):
        self.path, self.flag = run / "metrics.jsonl", flag
        self.rows: list[dict[str, Any]] = []
        self._open, self._events = False, cast(Any, None)

    def open(self, start_step: int = 0) -> Record:
        """Begin, or go on from `start_step`: rows of later steps, which the run will write again, are dropped.

        Raises UserError where metrics.jsonl cannot be written.
        """
        self.rows = [row for row in read(self.path) if row.get("step", 0) <= start_step]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.path, "".join(map(_line, self.rows)).encode())
        except OSError as error:
            raise UserError(
                f"{self.path} not written: {error.strerror}; make room, or choose another {self.flag}"
            ) from error
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only in training

            self._events = SummaryWriter(str(self.path.parent), purge_step=start_step + 1 if start_step else None)
        self._open = True
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; it must have "step". A number that is not finite becomes null."""
        if not self._open:
            return
        clean = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        self.rows.append(clean)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(clean))
            self._write_events(clean)
        except OSError as error:  # the next checkpoint stops the run on all processes, if it cannot be written either
            log.warning("%s not written: %s", self.path, error.strerror)

    def _write_events(self, row: Mapping[str, Any]) -> None:
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(name, value, row["step"])

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a line cut by a crash is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows


@contextmanager
def logging_to(run: Path, console: Console) -> Iterator[None]:
    """The package's messages go to train.log, with the time, and its warnings to the console too.

    Raises OSError where train.log cannot be opened.
    """
    file = logging.FileHandler(run / "train.log", encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger, handlers = logging.getLogger("lewel"), (file, _OnScreen(console))
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


class _OnScreen(logging.Handler):
    """Warnings on the console that the progress line is on, above it."""

    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}".encode(errors="backslashreplace").decode()
        self.console.print(text, style="yellow", markup=False, highlight=False)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
