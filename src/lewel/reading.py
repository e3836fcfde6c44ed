"""Read files that must be regular ones: a FIFO, a device or a folder in their place is refused and never waited for.

Whatever lewel reads of its own (configurations, records, manifests, weights) is opened here.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from lewel.errors import UserError, reason

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading. Raises OSError for anything else; it does not block.

    What was opened is looked at, so that a file that is swapped for a FIFO in between does no harm either.
    """
    check_regular(path)
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        _check_mode(os.fstat(file.fileno()).st_mode, path)
        yield file


def check_regular(path: Path) -> None:
    """Raises OSError when the path is missing or is no regular file. Opens nothing."""
    _check_mode(os.stat(path).st_mode, path)


def is_other(path: Path) -> bool:
    """Whether something lies there that is no regular file: writing to it could block, or go anywhere."""
    return path.exists() and not path.is_file()


def _check_mode(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path, advice: str) -> str:
    """The content of a text file. Raises UserError, which ends in `advice`: no regular file, not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}; {advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not UTF-8 text at byte {error.start}; {advice}") from error


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError, which ends in `advice`: as `read_text`, or no JSON object."""
    try:
        found = json.loads(read_text(path, advice))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged: it is not JSON; {advice}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object; {advice}")
    return found


def check_format(path: Path, found: Any, known: int) -> None:
    """Compare a file's format number with the newest that this lewel reads. Raises UserError for a newer one."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise UserError(f"{path} is damaged: {found!r} is no format number")
    if found > known:
        raise UserError(
            f"{path} was written by a newer lewel: format {found}, and this one reads up to {known}; "
            "pip install --upgrade lewel, or write it again with this one"
        )


def first_line(error: Exception) -> str:
    """Why, in one line."""
    text = reason(error) if isinstance(error, OSError) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]
