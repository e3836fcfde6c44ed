"""Writing beside the training: one piece at a time, and nothing that goes wrong is lost."""

from __future__ import annotations

import threading

import pytest

from lewel.engine.background import Background
from lewel.errors import UserError


def test_it_goes_on_while_the_caller_does() -> None:
    background, go = Background(str), threading.Event()
    done: list[int] = []
    background.start(lambda: (go.wait(10), done.append(1)))
    assert not done
    go.set()
    background.finish()
    assert done == [1]
    background.close()


def test_one_piece_at_a_time() -> None:
    background, go = Background(str), threading.Event()
    done: list[int] = []
    background.start(lambda: (go.wait(10), done.append(1)))
    threading.Timer(0.2, go.set).start()
    background.start(lambda: done.append(2))  # returns once the first is done
    assert go.is_set() and done[0] == 1
    background.close()
    assert done == [1, 2]


def test_a_failure_that_nobody_asks_for_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise OSError(28, "No space left on device")

    background = Background(lambda reason: f"not written: {reason}")
    background.start(fails)
    background.close()
    assert caplog.messages == ["not written: No space left on device; make room"]


@pytest.mark.parametrize("call", ["start", "finish"])
def test_what_went_wrong_is_raised_by_the_next_call_once(call: str) -> None:
    def fails() -> None:
        raise OSError(28, "No space left on device")

    background = Background(lambda reason: f"not written: {reason}")
    background.start(fails)
    with pytest.raises(UserError, match="not written: No space left on device"):
        background.start(None) if call == "start" else background.finish()
    background.finish()
    background.close()


def test_a_users_error_keeps_its_words() -> None:
    def fails() -> None:
        raise UserError("lower --lr")

    background = Background(str)
    background.start(fails)
    with pytest.raises(UserError, match=r"^lower --lr$"):
        background.finish()
    background.close()
