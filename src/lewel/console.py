"""Tables, progress bars, status lines and warnings on a terminal: the only module that imports rich.

Strings are text: rich's markup ("[red]", "[/b]") is never interpreted, and control characters are shown as escapes.
Nothing here raises because of the terminal. See `lewel.terminal` for both.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.console import RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar
from rich.segment import Segment
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from lewel.terminal import Unbreakable, printable

__all__ = ["Bar", "Column", "Console", "NotebookLine", "Table", "byte_bar", "count_bar", "decimal", "warnings_on"]

PLAIN_WIDTH = 130  # columns of a table in a file

Listener = Callable[[str, str], None]


class Console(rich.console.Console):
    """rich's Console for text from strangers, on a stream that cannot fail.

    A string is one line: a line break in it is shown as an escape, and it is never wrapped or cut. Print several lines
    with sep="\\n".
    """

    def __init__(self, **options: Any) -> None:
        options |= {"markup": False, "emoji": False, "highlight": False}
        super().__init__(**options)
        self._listeners: list[Listener] = []

    def _get_file(self) -> Any:
        file = rich.console.Console.file.fget(self)  # pyright: ignore[reportOptionalCall]
        return file if isinstance(file, Unbreakable) else Unbreakable(file)

    file = property(_get_file, rich.console.Console.file.fset)  # pyright: ignore[reportIncompatibleMethodOverride]

    @property
    def encoding(self) -> str:
        """Of the stream; rich 14 takes that of stdout and stderr for UTF-8."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text; rich calls this for what is printed and for every cell of a table."""
        options |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(printable(text), **options)

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        """Everything that is drawn, bars included; escapes what did not come through `render_str`."""
        for segment in super().render(*arguments, **options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and pass it on to those who listen (see `heard_by`)."""
        self._show(*objects, **options)
        if self._listeners and objects and all(isinstance(each, str | Text | Table) for each in objects):
            for line in _plain(*objects, **{name: options[name] for name in ("sep", "end") if name in options}):
                self._tell("INFO", line)

    def warn(self, text: str) -> None:
        """A warning: a line in yellow that begins with the word."""
        self._show(f"warning: {text}", style="yellow")
        self._tell("WARNING", text)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A spinner beside a text while something takes its time; nothing where there is no terminal."""
        text = Text(printable(status)) if isinstance(status, str) else status
        return rich.console.Console.status(_moving(self), text, **options)

    def live(self) -> Live:
        """A place on the screen whose content is replaced."""
        return Live(console=_moving(self))

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Context in which `listener` gets the level (INFO or WARNING) and the text of every line; bars excepted."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _show(self, *objects: Any, **options: Any) -> None:
        if all(isinstance(each, str) for each in objects):
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)

    def _tell(self, level: str, text: str) -> None:
        for listener in tuple(self._listeners):
            listener(level, text)


def _plain(*objects: Any, **options: Any) -> list[str]:
    """What a file gets where a screen gets these."""
    with io.StringIO() as file:
        Console(file=file, width=PLAIN_WIDTH, color_system=None)._show(*objects, **options)
        return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]


def _moving(console: Console) -> Console:
    """The console for what moves; in a notebook a silent one, as rich wants ipywidgets there and warns without them."""
    return Console(quiet=True, force_jupyter=False) if console.is_jupyter else console


class NotebookLine:
    """A line in a notebook's output whose text is replaced."""

    def __init__(self) -> None:
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, text: str) -> None:
        """Replace the text."""
        if self._handle is not None:
            self._handle.update({"text/plain": printable(text)}, raw=True)


def count_bar(console: Console, transient: bool = False) -> Bar:
    """A bar that counts, "3/20"; the task's description stands behind it."""
    return _bar(console, transient, MofNCompleteColumn())


def byte_bar(console: Console) -> Bar:
    """A bar that counts bytes, with their speed and the time left."""
    return _bar(console, False, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())


def _bar(console: Console, transient: bool, count: ProgressColumn, *others: ProgressColumn) -> Bar:
    columns = (count, BarColumn(bar_width=20), *others, _Description())
    return Bar(*columns, console=_moving(console), transient=transient)


class _Description(ProgressColumn):
    """A task's description as text; rich's own column takes it for markup."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


class _OnScreen(logging.Handler):
    """Shows warnings of all loggers."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # a message whose arguments do not fit it
            text = str(record.msg)
        self.console.warn(text)


@contextmanager
def warnings_on(console: Console) -> Iterator[None]:
    """Context in which warnings, of `logging` and of `warnings`, are shown on this console and on no other."""
    root, handler, show = logging.getLogger(), _OnScreen(console), warnings.showwarning
    outer = [each for each in root.handlers if isinstance(each, _OnScreen)]
    for each in outer:
        root.removeHandler(each)
    root.addHandler(handler)
    warnings.showwarning = lambda message, *_, **__: console.warn(str(message))
    try:
        yield
    finally:
        warnings.showwarning = show
        root.removeHandler(handler)
        for each in outer:
            root.addHandler(each)
