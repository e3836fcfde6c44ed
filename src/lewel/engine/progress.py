"""How far a run is: a bar on a terminal, a line that is replaced in a notebook, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lewel import parallel
from lewel.console import Bar, Console, NotebookLine, count_bar

PLAIN_EVERY_S = 30.0
NOTEBOOK_EVERY_S = 0.5
CELLS = 20  # of the bar in a notebook


class Progress:
    """Context that shows "step/total  loss  images/s  data wait  time left  verdict" on process 0.

    unit: what is counted, in lines that are no bar.
    """

    def __init__(self, total_steps: int, start_step: int = 0, console: Console | None = None, unit: str = "step"):
        self.console = console or Console(stderr=True)
        self.total, self.start, self.unit, self.text = total_steps, start_step, unit, ""
        self._said = -PLAIN_EVERY_S
        self._bar: Bar | None = None
        self._line: NotebookLine | None = None

    def __enter__(self) -> Progress:
        if parallel.is_main() and self.console.is_terminal:
            self._bar = count_bar(self.console)
            self._task = self._bar.add_task("", total=self.total, completed=self.start)
            self._bar.start()
        elif parallel.is_main() and self.console.is_jupyter:
            self._line = NotebookLine()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._line = None

    def begin(self) -> None:
        """Say that the first step is under way, which may take minutes: of a large batch on a CPU, or to compile."""
        if not parallel.is_main():
            return
        text = f"step {self.start + 1} is under way"
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif self._line is not None:
            self._replace(self._line, self.start, text)
        else:
            self.console.print(f"{self.unit} {self.start}/{self.total}  {text}")

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
        elif self._line is not None and time.monotonic() - self._said >= NOTEBOOK_EVERY_S:
            self._replace(self._line, step, self.text)

    def show(self, row: Mapping[str, Any], final: bool = False) -> None:
        """Show a logged row: in the bar, or as a line if the last is half a minute old; the first and final always."""
        if not parallel.is_main():
            return
        self.text = summary(row)
        if self._bar is not None:
            self._bar.update(self._task, completed=row["step"], description=self.text)
        elif self._line is not None:
            self._replace(self._line, row["step"], self.text)
        elif final or time.monotonic() - self._said >= PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.console.print(f"{self.unit} {row['step']}/{self.total}  {self.text}")

    def _replace(self, line: NotebookLine, step: int, text: str) -> None:
        self._said = time.monotonic()
        done = CELLS * step // max(self.total, 1)
        line.show(f"{self.unit} {step}/{self.total} {'█' * done}{'░' * (CELLS - done)} {text}")


def summary(row: Mapping[str, Any]) -> str:
    """A row as one line of text."""
    parts = []
    if row.get("loss") is not None:
        parts.append(f"loss {row['loss']:.3f}")
    if "images_per_s" in row:
        parts.append(f"{row['images_per_s']:.{0 if row['images_per_s'] >= 10 else 1}f} images/s")
    if "data_wait" in row:
        parts.append(f"data wait {100 * row['data_wait']:.0f}%")
    if "left_s" in row:
        parts.append(f"{duration(row['left_s'])} left")
    if "verdict" in row:
        parts.append(row["verdict"])
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """75 -> "1m15s", 7300 -> "2h01m"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
