"""A contender in another process: it works when asked, its troubles come back as one line, and it ends."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from lewel.bench import apart, compare
from lewel.errors import UserError


def counts(setup: int) -> apart.Built:
    done = []

    def work() -> dict[str, float]:
        done.append(setup)
        if len(done) == 4:
            os._exit(7)
        return {"units": float(len(done))}

    return apart.Built(work, images=setup, facts={"pid": os.getpid()})


def fails(setup: int) -> apart.Built:
    if setup:
        raise UserError("--batch-size 0: must be 1 or more")
    raise ValueError("first line\nsecond line")


def test_work_is_done_there() -> None:
    with apart.started({"counts": (counts, 5)}) as (running,):
        contender = running.contender()
        for _ in range(3):
            contender.work()
        assert contender.images == 5 and contender.cpu() > 0
        assert running.facts["units"] == 2 and running.facts["pid"] != os.getpid()
        assert running.facts["peak_bytes"] > 10e6
        with pytest.raises(UserError, match=r"counts: its process ended \(exit code 7\)"):
            contender.work()
    assert not multiprocessing.active_children()


def units(setup: int) -> apart.Built:
    return apart.Built(lambda: {"units": setup}, images=setup, facts={"setup": setup})


@pytest.mark.slow
def test_results_know_the_facts_of_their_contenders() -> None:
    before = []
    results = apart.timed({"one": (units, 1), "two": (units, 2)}, 3, before.append)
    assert [result.name for result in results] == ["one", compare.CONTROL, "two"]
    assert [result.facts["setup"] for result in results] == [result.facts["units"] for result in results] == [1, 1, 2]
    (facts,) = before
    assert facts["one"]["setup"] == 1 and facts["two"]["setup"] == 2 and "units" not in facts["two"]


@pytest.mark.slow
def test_what_cannot_be_compared_is_not_timed() -> None:
    def refuse(facts: dict[str, apart.Facts]) -> None:
        raise UserError(f"{list(facts)} do other work")

    with pytest.raises(UserError, match=r"\['one'\] do other work"):
        apart.timed({"one": (units, 1)}, 3, refuse)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_an_end_between_units_is_told() -> None:
    with apart.started({"counts": (counts, 5)}) as (running,):
        running.run()
        running._process.kill()
        running._process.join()
        with pytest.raises(UserError, match=r"counts: its process ended \(exit code -9\)"):
            running.run()


@pytest.mark.slow
def test_what_fails_there_is_told_here(capfd) -> None:
    for setup, told in ((1, r"fails: --batch-size 0"), (0, r"fails: ValueError: first line$")):
        with pytest.raises(UserError, match=told), apart.started({"fails": (fails, setup)}):
            raise AssertionError("never built")
    assert not multiprocessing.active_children()
    assert "second line" in capfd.readouterr().err
