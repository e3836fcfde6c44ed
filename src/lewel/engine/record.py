"""metrics.jsonl and TensorBoard's events: the numbers of a run, row by row. Only process 0 writes."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lewel import reading
from lewel.engine import files
from lewel.engine.events import Events
from lewel.errors import UserError
from lewel.lines import Lines

log = logging.getLogger(__name__)


class Record:
    """metrics.jsonl, one JSON object a line, and the same numbers for TensorBoard where it is installed.

    Open it on process 0; on others it takes rows and writes nothing. A file that cannot be written never ends the run.
    """

    def __init__(self, run: Path):
        self.path = run / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        self._file, self._whole = Lines(self.path), False
        self._events: Events | None = None

    def open(self, start_step: int = 0) -> Record:
        """Begin, or go on from `start_step`: rows that the run will write again are dropped.

        From step 0 all are: a kill before the first checkpoint may have come after the evaluation of step 0.
        Raises UserError for what is no regular file.
        """
        self.rows = [row for row in read(self.path) if start_step > 0 and row.get("step", 0) <= start_step]
        self._replace()
        self._events = Events(self.path.parent, start_step)
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; it must have "step". A number that is not finite becomes null."""
        if self._events is None:
            return
        clean = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        self.rows.append(clean)
        if self._whole:
            self._whole = self._file.add(_line(clean))
        else:
            self._replace()  # with the rows that did not get into the file
        self._events.add(clean)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _replace(self) -> None:
        """Write all rows; `_whole` says whether the file has them."""
        self._whole = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.path, "".join(f"{_line(row)}\n" for row in self.rows).encode())
        except OSError as error:
            self._file.fail(error)
        else:
            self._whole = True


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl. A line cut by a crash is left out; so are lines that are no rows, with a warning.

    Raises UserError for what is no regular file.
    """
    if not path.exists():
        return []
    try:
        *lines, last = reading.read_bytes(path).split(b"\n")  # the last is empty, or was cut
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {reading.first_line(error)}; remove it, or give another run"
        ) from error
    rows = [row for line in (*lines, last) if (row := _row(line)) is not None]
    if wrong := sum(_row(line) is None for line in lines):
        log.warning("%s: %d lines are not as lewel writes them and are left out", path, wrong)
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    """A line as it was written, else None: an object of numbers, nulls, lists of numbers, and the verdict in words."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step", 0)) is not int:
        return None
    return row if all(name == "verdict" or _is_of_numbers(value) for name, value in row.items()) else None


def _is_of_numbers(value: Any) -> bool:
    """A grid of classifiers has a list: a number for each."""
    if isinstance(value, list):
        return all(isinstance(each, int | float) for each in value)
    return value is None or isinstance(value, int | float)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False)
