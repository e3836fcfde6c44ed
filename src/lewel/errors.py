"""The one exception that a user's mistake raises; the command line prints its line and exits with code 2."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from typing import Protocol, runtime_checkable


class UserError(ValueError):
    """One line: what was given, what is allowed, which flag to change.

    everywhere: every process of the run raises the same.   told_elsewhere: another one prints it.
    leave_at_once: the interpreter's own end would wait for processes that do not answer.
    """

    exit_code = 2
    everywhere = False
    told_elsewhere = False
    leave_at_once = False


@runtime_checkable
class Told(Protocol):
    """What has one line for the user, of one process of several."""

    everywhere: bool
    told_elsewhere: bool


class DivergenceError(UserError):
    """A training whose loss or gradient is not finite any more."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """'; did you mean X?' for the nearest allowed name, or '' when none is near."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


_OF_THE_SYSTEM = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENAMETOOLONG, errno.EFBIG,
}  # fmt: skip


def line_of(error: Exception) -> str | None:
    """What to tell the user of an error that ends a command; None for a fault of lewel, whose traceback is needed.

    A user's mistake says it itself; a disk that is full, read-only or damaged, or files that may not be opened, say
    which file.
    """
    if hasattr(error, "exit_code"):
        return str(error)
    if failed := no_memory(error):
        return f"out of memory ({failed}); allow the process more (ulimit -v, the container's limit)"
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        return f"{error.filename}: {reason(error)}" if error.filename is not None else reason(error)
    return None


def reason(error: OSError) -> str:
    """Why a file could not be written or read, with the remedy where there is a sure one."""
    text = error.strerror or str(error) or type(error).__name__
    remedies = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EFBIG: "allow larger files (ulimit -f)"}
    return f"{text}; {remedies[error.errno]}" if error.errno in remedies else text


_NO_MEMORY = re.compile(
    r"can.?t allocate memory.*|cannot allocate memory.*|out of memory.*|bad.?alloc.*|failed to map segment.*|"
    r"can.?t start new thread|unable to mmap.*",
    re.IGNORECASE,
)


def no_memory(error: BaseException) -> str:
    """What could not be allocated, where that is why this error was raised; "" for any other error.

    MemoryError is Python's and NumPy's; torch has a RuntimeError for it, the loader of libraries an ImportError, the
    system an OSError.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return str(error) or "an allocation failed"
    found = _NO_MEMORY.search(str(error)) if isinstance(error, RuntimeError | ImportError) else None
    return found[0][:150] if found else ""
