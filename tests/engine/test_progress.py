"""An evaluation in the midst of a training has a bar of its own."""

from __future__ import annotations

import io

from lewel.console import Console
from lewel.engine.progress import Progress


def test_bars_may_be_nested() -> None:
    """rich allows it from 14.1 on."""
    console = Console(file=io.StringIO(), force_terminal=True)
    with Progress(3, 0, console) as outer:
        outer.advance(1)
        with Progress(2, 0, console, unit="image") as inner:
            inner.advance(2)
        outer.advance(3)
    assert "2/2" in console.file.getvalue() and "3/3" in console.file.getvalue()


def test_the_first_step_is_announced_before_it_is_done() -> None:
    """A batch of 256 on a CPU takes minutes: without this line nobody knows that anything happens."""
    plain, bar = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)
    for console in (plain, bar):
        with Progress(9, 4, console) as progress:
            progress.begin()
        assert "step 5 is under way" in console.file.getvalue()
    assert plain.file.getvalue() == "step 4/9  step 5 is under way\n"
