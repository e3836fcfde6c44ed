"""The loggers of a run: what `--logger KIND[:WHERE]` stands for, checked before the run and opened at its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lewel import outside
from lewel.engine.record import Logger, Record, warn
from lewel.errors import UserError, nearest
from lewel.loggers.jsonl import Jsonl
from lewel.loggers.mlflow import MLflow
from lewel.loggers.start import Start
from lewel.loggers.tensorboard import TensorBoard
from lewel.loggers.wandb import WandB


class Opener(NamedTuple):
    """A logger to open when a run starts. name: as the user gave it."""

    name: str
    open: Callable[[Start], Logger]


# kind: (WHERE, start) -> logger. A kind is also the name of the package that it needs and of the extra that brings it.
_KINDS: dict[str, Callable[[str, Start], Logger]] = {
    "tensorboard": lambda where, start: TensorBoard(Path(where) if where else start.directory, start.step),
    "wandb": WandB,
    "mlflow": MLflow,
}
_ALLOWED = "tensorboard[:DIR], wandb[:PROJECT], mlflow[:URI] or FILE.py:NAME"


def parse(given: Sequence[str]) -> tuple[Opener, ...]:
    """The loggers that `--logger` names. TensorBoard is among them where it is installed, named or not.

    Raises UserError, before anything is written: an unknown kind, a missing package, a user's file that does not fit.
    """
    if twice := next((text for text in given if given.count(text) > 1), None):
        raise UserError(f"--logger {twice} is given twice; give it once")
    openers = [_parse(text) for text in given]
    if not any(text.partition(":")[0] == "tensorboard" for text in given) and find_spec("tensorboard"):
        openers.append(_of_kind("tensorboard", "tensorboard", ""))
    return tuple(openers)


def check(loggers: Sequence[object]) -> None:
    """Raises UserError where an object is no logger."""
    for logger in loggers:
        if isinstance(logger, type) or not isinstance(logger, Logger):
            what = f"class {logger.__name__}" if isinstance(logger, type) else type(logger).__name__
            raise UserError(f"loggers: {what} is no logger; give objects with write(row) and close()")


def open_record(start: Start, openers: Sequence[Opener], loggers: Sequence[Logger] = ()) -> Record:
    """Open metrics.jsonl and the loggers. One that cannot be opened is warned about, and the run goes on without it.

    Args:
        start: the run and the step it goes on from.
        openers: of `parse`.
        loggers: that are open already.

    Raises UserError where metrics.jsonl is no regular file.
    """
    file = Jsonl(start.directory, start.step)
    opened: list[Logger] = [file, *loggers]
    for opener in openers:
        try:
            logger = opener.open(start)
            check([logger])
        except Exception as error:  # a package that is there but broken raises anything
            warn(f"--logger {opener.name}", error)
        else:
            opened.append(logger)
    return Record(opened, file.rows)


def _parse(text: str) -> Opener:
    path, colon, name = text.rpartition(":")
    if colon and path.endswith(".py"):
        return Opener(text, _own(Path(path), name))
    kind, _, where = text.partition(":")
    if kind.endswith(".py"):
        raise UserError(f"--logger {text} names a file but nothing in it; write {text}:NAME, a class or function")
    if kind not in _KINDS:
        raise UserError(f"--logger {text}: there is no logger {kind!r}{nearest(kind, _KINDS) or f'; give {_ALLOWED}'}")
    if find_spec(kind) is None:
        raise UserError(f"--logger {text} needs the package {kind}: pip install 'lewel[{kind}]'")
    return _of_kind(text, kind, where)


def _of_kind(text: str, kind: str, where: str) -> Opener:
    return Opener(text, lambda start: _KINDS[kind](where, start))


def _own(path: Path, name: str) -> Callable[[Start], Any]:
    """A class or function of a user's file: called with a `Start`, it gives a logger."""
    found = getattr(outside.module(path, "logger"), name, None)
    if not callable(found):
        raise UserError(f"--logger {path}:{name}: {path} defines no class or function {name!r}")
    if isinstance(found, type) and not issubclass(found, Logger):
        raise UserError(f"--logger {path}:{name}: the class has no write(row) and close()")
    return found
