"""train.log: what the screen said while a run was prepared and trained, and how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lewel import parallel
from lewel.console import Console, warnings_on
from lewel.lines import Lines
from lewel.terminal import printable
from lewel.version import __version__

NAME = "train.log"
BEGAN, ENDED = "INFO began: ", "INFO ended: "  # the first and last line of every start; the last one not after a kill


class RunLog(logging.Handler):
    """Context in which everything that `console` shows, and the package's INFO messages, are kept for train.log.

    The lines wait until `into` says which directory is the run's: before that nothing may be written.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self._file: Lines | None = None
        self._waiting: list[str] = []

    @contextmanager
    def listening(self) -> Iterator[RunLog]:
        """Warnings of logging and of warnings are shown on the console meanwhile."""
        logger, level = logging.getLogger("lewel"), logging.getLogger("lewel").level
        logger.addHandler(self)
        logger.setLevel(min(level or logging.INFO, logging.INFO))
        try:
            with self.console.heard_by(self.add), warnings_on(self.console):
                yield self
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)

    @contextmanager
    def into(self, run: Path) -> Iterator[None]:
        """On process 0, write to train.log in the directory; at the end, how it ended."""
        if not parallel.is_main():
            yield
            return
        killed = was_killed(run / NAME)
        self._file = Lines(run / NAME)
        if killed:
            self.add("INFO", "the start before did not say how it ended: it was killed")
        self._file.add(_line(f"{BEGAN}lewel {__version__}"), *self._waiting)
        try:
            yield
        except BaseException as error:
            self._file.add(_line(f"{ENDED}{ending(error)}"))
            raise
        else:
            self._file.add(_line(f"{ENDED}done"))
        finally:
            self._file = None

    def emit(self, record: logging.LogRecord) -> None:
        """Messages below a warning; warnings come by the console."""
        if record.levelno < logging.WARNING:
            self.add(record.levelname, record.getMessage())

    def add(self, level: str, text: str) -> None:
        """A line, with the time."""
        line = _line(f"{level} {text}")
        if self._file is None:
            self._waiting.append(line)
        else:
            self._file.add(line)


def _line(text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(text)}"


def ending(error: BaseException) -> str:
    """How a run ended that raised this: an error of the user, a stop that was asked for, or a fault."""
    if hasattr(error, "exit_code"):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def was_killed(path: Path) -> bool:
    """Whether the last start that wrote this train.log ended without a word."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError:
        return False
    marks = [mark for line in lines for mark in (BEGAN, ENDED) if mark in line]
    return marks[-1:] == [BEGAN]
