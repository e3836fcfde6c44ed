"""What reaches the terminal: text without control characters, through streams that never fail.

Names of files and classes come from strangers. Written as they are, they could move the cursor, recolour the screen or
turn the order of the letters; so everything that is shown goes through `printable`. A reader that has gone, a full disk
or a narrow encoding is no reason to lose a training run; so everything is written through `Unbreakable`.

`lewel.console` draws tables and progress bars on top of this module. Both import no torch.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, runtime_checkable


def printable(text: str | os.PathLike[str], keep: str = "") -> str:
    """One line of text that any terminal shows as it is.

    Control characters, line breaks, bidirectional overrides, invisible characters and bytes that are not UTF-8 become
    backslash escapes. Letters of every script stay.   keep: characters to leave, such as a newline.
    """
    text = os.fspath(text)
    if text.isprintable():
        return text
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which stands for no byte
        text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


@runtime_checkable
class Stream(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


def say(*lines: str) -> None:
    """Write lines to stdout: what the command was asked for."""
    _write(sys.stdout, lines)


def complain(line: str) -> None:
    """Write one line to stderr: why the command ends."""
    _write(sys.stderr, [line])


def complain_at_once(line: str) -> None:
    """Write one line to stderr past Python's stream, which another thread that hangs may hold."""
    with suppress(OSError):
        os.write(2, f"{printable(line)}\n".encode())


def _write(stream: Stream | None, lines: Iterable[str]) -> None:
    if stream is not None:
        whole = Unbreakable(stream)
        whole.write("".join(f"{printable(line)}\n" for line in lines))
        whole.flush()


class Unbreakable:
    """A text stream whose `write` and `flush` never raise; everything else is the stream's own.

    What cannot be written (reader gone, disk full, stream closed) is dropped, and the next write tries again.
    Characters outside the stream's encoding become backslash escapes.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):  # ValueError: the stream is closed
            _drop_pending(self.stream)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        try:
            self.stream.flush()
        except (OSError, ValueError):
            _drop_pending(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _drop_pending(stream: Stream) -> None:
    """Empty the stream's buffers into nothing.

    Otherwise the interpreter flushes them when it ends, fails again, and turns the exit code into 120.
    """
    if not isinstance(stream, io.IOBase):
        return
    with suppress(OSError, ValueError):
        number = stream.fileno()
        saved, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, number)
            stream.flush()
        finally:
            os.dup2(saved, number)
            os.close(saved)
            os.close(nowhere)


@contextmanager
def unbreakable() -> Iterator[None]:
    """Context in which nothing that is written to stdout or stderr, by whomever, can raise.

    Call it once, around a whole command: tracebacks that come after it are written in the same way.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_wrapped(stream) for stream in before)
    sys.excepthook = _write_traceback
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _wrapped(stream: Stream | None) -> Any:
    if stream is None:  # the descriptor was closed when the interpreter started
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open until the process ends)
    return Unbreakable(stream)


def _open_closed_descriptors() -> None:
    """Open 0, 1 and 2 where they are closed: a checkpoint that got number 2 would hold the warnings of C++ code."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _write_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if sys.stderr is not None:
        lines = traceback.format_exception(kind, error, trace)
        whole = Unbreakable(sys.stderr)
        whole.write(printable("".join(lines), keep="\n"))
        whole.flush()
