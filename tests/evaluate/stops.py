"""Evaluations that end in the midst of their training."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from lewel.engine import loop
from lewel.engine.loop import Step
from lewel.evaluate import training


def crash(step: Step) -> None:
    raise RuntimeError("the machine went away")


def ask(step: Step) -> None:
    """The loop sees it in the next step, if there is one."""
    os.kill(os.getpid(), signal.SIGTERM)


def after(number: int, how: Callable[[Step], None], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """first: before the other callbacks of that step, so that neither evaluation nor checkpoint of it is there."""

    def train(*arguments: Any, callbacks: Any, **options: Any) -> None:
        def callback(step: Step) -> None:
            if step.number == number:
                how(step)

        more = [callback, *callbacks] if first else [*callbacks, callback]
        loop.train(*arguments, callbacks=more, **options)

    monkeypatch.setattr(training, "train", train)
