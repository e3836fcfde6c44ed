"""metrics.jsonl: one JSON object a line, the rows of a run and of each evaluation that trains."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from lewel import reading
from lewel.engine import files
from lewel.engine.record import Row
from lewel.errors import UserError
from lewel.lines import Lines

log = logging.getLogger(__name__)

NAME = "metrics.jsonl"


class Jsonl:
    """Writes metrics.jsonl.

    A file that cannot be written is warned about once and tried again with every row, as a disk may get room.
    """

    def __init__(self, directory: Path, start_step: int = 0) -> None:
        """Begin, or go on: rows of steps after `start_step`, which the run will write again, are dropped.

        From step 0 all are: a kill before the first checkpoint may have come after the evaluation of step 0.
        Raises UserError for what is no regular file.
        """
        self.path = directory / NAME
        self.rows = [row for row in read(self.path) if start_step > 0 and row.get("step", 0) <= start_step]
        self._file, self._whole = Lines(self.path), False
        self._replace()

    def write(self, row: Row) -> None:
        self.rows.append(dict(row))
        if self._whole:
            self._whole = self._file.add(_line(row))
        else:
            self._replace()  # with the rows that did not get into the file

    def close(self) -> None:
        """Every row is in the file already."""

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


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False)
