"""An evaluation in the midst of a training has a bar of its own."""

from __future__ import annotations

import io

from rich.console import Console

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
