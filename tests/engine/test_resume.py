"""Runs that are stopped or killed, and started again, end where an unbroken one does."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from processes import finish, start

from lewel.engine.checkpoint import newest_whole
from lewel.engine.signals import EXIT_CODE


def unbroken(folder: Path, steps: int, world: int = 1) -> list[str]:
    """Each process's last line: its digest."""
    return [last_line(result) for result in finish(start(folder / "unbroken", steps, world=world))]


def last_line(result: tuple[int, str, str]) -> str:
    status, out, error = result
    assert status == 0, error
    return out.splitlines()[-1]


def killed_runs(folder: Path, kills: int, world: int = 1, seed: int = 0) -> list[list[str]]:
    """Kill all processes of a run `kills` times at random moments; a run that ends before is followed by another.

    Returns the digests of every run that ended.
    """
    moments, ends, number = random.Random(seed), [], 0
    while kills > 0:
        number += 1
        while True:
            started = start(folder / str(number), 100, "--save-every", 2, "--pause", 0.01, world=world)
            assert started[0].stdout is not None
            first = started[0].stdout.readline()
            assert first.startswith("at "), started[0].communicate()
            if kills > 0:
                time.sleep(moments.uniform(0, 0.7))
                for process in moments.sample(started, len(started)):
                    process.send_signal(signal.SIGKILL)
                kills -= 1
            results = finish(started)
            if all(status == 0 for status, _, _ in results):
                ends.append([last_line(result) for result in results])
                break
    return ends


def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert killed_runs(tmp_path, 1) == [unbroken(tmp_path, 100)]


@pytest.mark.slow
def test_killed_twenty_times(tmp_path: Path) -> None:
    expected = unbroken(tmp_path, 100)
    ends = killed_runs(tmp_path, 20, seed=1)
    assert ends and all(end == expected for end in ends)


@pytest.mark.slow
def test_two_processes_killed_four_times(tmp_path: Path) -> None:
    expected = unbroken(tmp_path, 100, world=2)
    ends = killed_runs(tmp_path, 4, world=2)
    assert ends and all(end == expected for end in ends)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_two_processes_stopped_and_gone_on(tmp_path: Path) -> None:
    started = start(tmp_path / "stopped", 100, "--save-every", 1000, "--pause", 0.05, world=2)
    assert started[0].stdout is not None and started[0].stdout.readline() == "at 0\n"
    time.sleep(0.5)
    started[0].send_signal(signal.SIGTERM)
    assert [status for status, _, _ in finish(started)] == [EXIT_CODE, EXIT_CODE]
    resumed = finish(start(tmp_path / "stopped", 100, world=2))
    assert resumed[0][1].splitlines()[0] != "at 0"
    assert [last_line(result) for result in resumed] == unbroken(tmp_path, 100, world=2)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_to_one_of_two_processes_saves_and_stops_both(tmp_path: Path) -> None:
    started = start(tmp_path / "stopped", 60, "--save-every", 1000, "--pause", 0.05, world=2)
    assert started[1].stdout is not None and started[1].stdout.readline() == "at 0\n"
    time.sleep(0.5)
    started[1].send_signal(signal.SIGUSR1)
    results = finish(started)
    assert [status for status, _, _ in results] == [EXIT_CODE, EXIT_CODE], results
    assert "saved; the same command goes on from there" in results[0][1]
    found, damages = newest_whole(tmp_path / "stopped")
    assert found is not None and not damages and f" at step {int(found.name[5:])} of 60" in results[1][1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    started = start(tmp_path, 100, "--pause", 30)
    assert started[0].stdout is not None and started[0].stdout.readline() == "at 0\n"
    time.sleep(0.2)
    started[0].send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert started[0].poll() is None  # waits for the step to end
    began = time.monotonic()
    started[0].send_signal(signal.SIGINT)
    assert finish(started)[0][0] == -signal.SIGINT
    assert time.monotonic() - began < 5
