"""The rows of a run, and the loggers that they go to. Only process 0 has loggers."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lewel.reading import first_line

log = logging.getLogger(__name__)

Row = Mapping[str, Any]


@runtime_checkable
class Logger(Protocol):
    """Receives the rows of a run. Both methods are called on process 0, from the thread that trains.

    A logger that raises is warned about once and gets no more rows. The run goes on.
    """

    def write(self, row: Row) -> None:
        """Take one row.

        Args:
            row: "step" (int) and what was measured at it: floats, None where a number was not finite, and the health
                verdict as a word. Two rows may have one step: training and evaluation.
        """
        ...

    def close(self) -> None:
        """Finish. Called once, after the last row. The run's status.json says by then how the run ended."""
        ...


class Record:
    """The rows of a run so far. Passes each new one on to the loggers."""

    def __init__(self, loggers: Sequence[Logger] = (), rows: Sequence[dict[str, Any]] = ()) -> None:
        """
        Args:
            loggers: receive the rows written from here on.
            rows: written by earlier starts of the run; the loggers have them already.
        """
        self.rows = list(rows)
        self._loggers = list(loggers)

    def write(self, row: Row) -> None:
        """Append a row; it must have "step". A number that is not finite becomes None."""
        clean = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        self.rows.append(clean)
        for logger in tuple(self._loggers):
            try:
                logger.write(dict(clean))  # its own, to change as it likes
            except Exception as error:  # the package of a logger may raise anything
                self._loggers.remove(logger)
                warn(type(logger).__name__, error)

    def close(self) -> None:
        """Close the loggers that still work."""
        while self._loggers:
            logger = self._loggers.pop()
            try:
                logger.close()
            except Exception as error:
                warn(type(logger).__name__, error)


def warn(logger: str, error: Exception) -> None:
    """Say that a logger failed and that the run goes on without it."""
    kind, why = type(error).__name__, first_line(error)
    log.warning("%s failed (%s: %s); no more rows go there, all numbers are in metrics.jsonl", logger, kind, why)


def numbers(row: Row) -> dict[str, float]:
    """The finite numbers of a row, without its step: what can be plotted."""
    return {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
