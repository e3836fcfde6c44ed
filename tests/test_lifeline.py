"""A process that has ended is told by the others in one line, at once; one that does not answer after the time-out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from test_parallel import ENVIRONMENT, free_port

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL and SIGSTOP")

CODE = """
    import os, sys, time, torch
    from lewel import lifeline, parallel
    from lewel.errors import UserError
    lifeline.LEAVE_S = 0.0
    try:
        with parallel.group(lambda: torch.device("cpu"), timeout_s=float(sys.argv[1])):
            print("ready", flush=True)
            if sys.argv[2] == str(parallel.rank()):
                time.sleep(1000)  # as one that waits for a collective call of NCCL
            while True:
                parallel.barrier()
                if sys.argv[3] == str(parallel.rank()):
                    raise UserError("an error of this process alone")
    except UserError as error:
        if not error.told_elsewhere:
            print("lewel:", error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


def start(world: int, timeout_s: float, asleep: object = "", failing: object = "") -> list[subprocess.Popen[str]]:
    """Processes that have joined."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    command = [sys.executable, "-c", textwrap.dedent(CODE), *map(str, (timeout_s, asleep, failing))]
    started = [
        subprocess.Popen(
            command,
            env=ENVIRONMENT | place | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n", process.communicate()
    return started


def ends(started: list[subprocess.Popen[str]]) -> list[tuple[int, list[str]]]:
    """Exit code and lines of standard error of each."""
    try:
        said = [process.communicate(timeout=200)[1].splitlines() for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, lines) for process, lines in zip(started, said, strict=True)]


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_is_told_in_one_line_by_each_of_the_others(killed: int) -> None:
    """One of them is in a collective call, which raises; the other one waits as if for ever."""
    started = start(3, 600, asleep=2)
    started[killed].kill()
    others = [process for process in started if process is not started[killed]]
    for code, lines in ends(others):
        assert code == 2
        assert len(lines) == 1 and lines[0].startswith(f"lewel: process {killed} of 3 ended before its time"), lines


def test_an_error_of_one_process_ends_the_other_too() -> None:
    mine, other = ends(start(2, 600, failing=0))
    assert mine == (2, ["lewel: an error of this process alone"])
    assert other[0] == 2 and len(other[1]) == 1 and "process 0 of 2 ended before its time" in other[1][0]


@pytest.mark.slow
def test_a_stopped_process_is_told_after_the_timeout() -> None:
    started = start(2, 3)
    started[1].send_signal(signal.SIGSTOP)
    try:
        [(code, lines)] = ends(started[:1])
    finally:
        started[1].kill()
        started[1].communicate()
    assert code == 2 and len(lines) == 1 and "did not answer for 3 s (--timeout)" in lines[0], lines
