"""Stopping when asked to: a signal sets a flag, the loop saves after the step that it is in."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from lewel import parallel

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, start the same command again
_NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")
_SAME_KEYPRESS_S = 1.0  # torchrun passes on a Ctrl-C that its processes have had already


class Interrupted(Exception):  # noqa: N818  (no error)
    """The run stopped at `step` because it was asked to; what it did is saved. Exit code 75 on every process."""

    exit_code = EXIT_CODE

    def __init__(self, step: int, total_steps: int):
        super().__init__(f"stopped at step {step} of {total_steps}, and saved; the same command goes on from there")
        self.step, self.total_steps = step, total_steps
        self.told_elsewhere = not parallel.is_main()


class StopRequest:
    """Context in which SIGTERM, SIGUSR1 and Ctrl-C set `requested`; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._process = os.getpid()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        for name in _NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGUSR1
            if number is not None:
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


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
