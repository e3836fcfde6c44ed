"""A signal asks the run to stop; in what it has forked it does nothing."""

from __future__ import annotations

import os
import signal

import pytest

from lewel.engine.signals import StopRequest

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
    assert signal.getsignal(number) is before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_forked_worker_leaves_it_to_the_parent(number: int) -> None:
    with StopRequest() as stop:
        child = os.fork()
        if child == 0:
            signal.raise_signal(number)
            os._exit(7 if stop.requested else 0)
        assert os.waitpid(child, 0)[1] == 0 and not stop.requested
