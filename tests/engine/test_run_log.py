"""train.log has what the screen said, and how each start of a run ended."""

from __future__ import annotations

import io
import logging
import os
import warnings
from pathlib import Path

import pytest

from lewel.console import Console, Table, count_bar
from lewel.engine.run_log import RunLog
from lewel.engine.signals import Interrupted
from lewel.errors import UserError
from lewel.version import __version__

log = logging.getLogger("lewel.engine.somewhere")


def said(path: Path) -> list[str]:
    """The lines without their times."""
    return [line.split(" ", 2)[2] for line in (path / "train.log").read_text(encoding="utf-8").splitlines()]


def test_the_log_has_what_the_screen_said_from_the_beginning(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=40)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("recipe", "lewel_b [old]")
    with RunLog(console).listening() as run_log:
        console.print(table)
        assert not list(tmp_path.iterdir())
        with run_log.into(tmp_path):
            console.print("going on at step 3" + " of many" * 10)
            log.warning("a name: %s", "b\udcff\n.jpg")
            log.info("for the file alone")
            warnings.warn("it emulates", UserWarning, stacklevel=1)
            with count_bar(console) as bar:
                bar.add_task("loss 1", total=3)
        log.warning("after the run")
    log.warning("to nobody")
    assert said(tmp_path) == [
        f"INFO began: lewel {__version__}",
        "INFO recipe  lewel_b [old]",
        "INFO going on at step 3" + " of many" * 10,
        "WARNING a name: b\\xff\\n.jpg",
        "INFO for the file alone",
        "WARNING it emulates",
        "INFO ended: done",
    ]
    screen = console.file.getvalue()
    assert "warning: a name: b\\xff\\n.jpg\n" in screen and "for the file alone" not in screen
    assert "after the run" in screen and "to nobody" not in screen


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("the loss is not finite"), "ended: the loss is not finite"),
        (Interrupted(3, 9, "SIGTERM"), "ended: stopped by SIGTERM at step 3 of 9, and saved; the same command goes on"),
        (KeyError("x"), "ended: KeyError: 'x'"),
        (KeyboardInterrupt(), "ended: KeyboardInterrupt"),
    ],
)
def test_how_it_ended(tmp_path: Path, error, expected) -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(type(error)), RunLog(console).listening() as run_log, run_log.into(tmp_path):
        raise error
    assert said(tmp_path)[1].startswith(f"INFO {expected}")


def test_the_start_after_a_kill_says_so(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with RunLog(console).listening() as run_log, run_log.into(tmp_path):
        console.print("first")
    assert "killed" not in (tmp_path / "train.log").read_text()
    with (tmp_path / "train.log").open("a") as file:
        file.write("2026-01-01 00:00:00 INFO began: lewel 0\n2026-01-01 00:00:01 INFO and th")
    with RunLog(console).listening() as run_log, run_log.into(tmp_path):
        console.print("third")
    lines = said(tmp_path)
    assert lines[-5:] == [
        "INFO and th",
        "INFO the start before did not say how it ended: it was killed",
        f"INFO began: lewel {__version__}",
        "INFO third",
        "INFO ended: done",
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_the_log_is_a_warning(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.log")
    console = Console(file=io.StringIO())
    with RunLog(console).listening() as run_log, run_log.into(tmp_path):
        console.print("one")
        console.print("two")
    (warned,) = [line for line in console.file.getvalue().splitlines() if line.startswith("warning: ")]
    assert warned.endswith("train.log not written (it is not a regular file); the run goes on without it")
