"""A signal asks the run to stop; in what it has forked it does nothing."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from lewel.engine.signals import StopRequest

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]


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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
def test_a_closed_terminal_asks_to_stop_but_not_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_a_thread_signals_stay_the_programs() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def entered() -> bool:
        with StopRequest() as stop:
            return stop.requested or before != [signal.getsignal(number) for number in SIGNALS]

    with ThreadPoolExecutor() as pool:
        assert pool.submit(entered).result() is False
