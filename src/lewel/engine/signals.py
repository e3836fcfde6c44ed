"""Stopping when asked to: a signal sets a flag, the loop saves after the step that it is in."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

from lewel import parallel

log = logging.getLogger(__name__)

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, start the same command again
_NAMES = ("SIGTERM", "SIGUSR1", "SIGHUP", "SIGINT")
_SAME_KEYPRESS_S = 1.0  # torchrun passes on a Ctrl-C that its processes have had already


class Interrupted(Exception):  # noqa: N818  (no error)
    """The run stopped at `step` because it was asked to; what it did is saved. Exit code 75 on every process."""

    exit_code = EXIT_CODE
    everywhere = told_elsewhere = False

    def __init__(self, step: int, total_steps: int, by: str = ""):
        at = f"{f'by {by} ' if by else ''}at step {step} of {total_steps}"
        super().__init__(f"stopped {at}, and saved; the same command goes on from there")
        self.step, self.total_steps = step, total_steps
        parallel.everywhere(self)


class StopRequest:
    """Context in which SIGTERM, SIGUSR1, SIGHUP and Ctrl-C set `requested`; a second Ctrl-C ends the process at once.

    Only the main thread of a process can handle signals: in another thread they stay what the program has made of them.
    """

    def __init__(self) -> None:
        self.requested = False
        self.by = ""  # the signal's name
        self._since = 0.0
        self._process = os.getpid()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            log.info("training in a thread: signals do not stop it, the program's own handlers have them")
            return self
        for number in _free_signals():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def _handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a forked data worker that has just begun: as `lewel.data.serving` has it, they are the parent's
        if self.requested and number == signal.SIGINT and time.monotonic() - self._since > _SAME_KEYPRESS_S:
            _die(number)
        elif not self.requested:
            self.requested, self._since = True, time.monotonic()
            self.by = signal.Signals(number).name


def _free_signals() -> list[signal.Signals]:
    """Those of _NAMES that the system has (Windows: not all) and that nobody else wants: nohup ignores SIGHUP, and a
    handler from outside Python (None) could not be put back.
    """
    present = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
    handlers = {number: signal.getsignal(number) for number in present}
    return [
        number
        for number, handler in handlers.items()
        if handler is not None and not (number.name == "SIGHUP" and handler == signal.SIG_IGN)
    ]


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
