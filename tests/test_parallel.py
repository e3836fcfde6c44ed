"""Joining processes: the launchers' variables, and every collective against what it should give."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from lewel import parallel
from lewel.errors import UserError

# where this package is, for processes that pytest does not start
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(parallel.__file__).parents[1])}


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({"LOCAL_WORLD_SIZE": "4", "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x4)", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "32"}, 8),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 2),
        ({}, 1),
    ],
)
def test_processes_on_this_machine(variables: dict[str, str], number: int) -> None:
    assert parallel.processes_here(variables) == number


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_processes(code: str, world: int = 2, launcher: str = "torchrun", timeout: float = 240) -> list[str]:
    """Run `code` in `world` processes that find each other; returns what each printed."""
    port = free_port()
    names = {
        "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        "srun": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    }[launcher]
    processes = []
    for rank in range(world):
        environment = ENVIRONMENT | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment |= dict(zip(names, (str(rank), str(world), str(rank)), strict=True))
        if launcher == "srun":
            environment["SLURM_STEP_ID"] = "0"
        command = [sys.executable, "-c", textwrap.dedent(code)]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    try:
        results = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world, [error for _, error in results]
    return [out for out, _ in results]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu8", "gpu7"),
        ("gpu[07-09,12],login", "gpu07"),
        ("node[3,5-6]", "node3"),
        ("r[1-2]n[03-04],r3n1", "r1n03"),
    ],
)
def test_first_host_of_slurm_list(nodes: str, first: str) -> None:
    assert parallel.first_host(nodes) == first


def test_srun_step_is_joined_at_its_first_host() -> None:
    environment = {
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "8",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_ID": "2",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "gpu[01-02]",
    }
    where = parallel.place(environment)
    assert where[:4] == (3, 8, 1, "gpu01")
    assert where.port == parallel.place(environment | {"SLURM_PROCID": "0"}).port
    assert where.port != parallel.place(environment | {"SLURM_JOB_ID": "78"}).port


def test_python_in_a_batch_script_of_many_tasks_runs_alone() -> None:
    assert parallel.place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}).world == 1


def test_torchrun_inside_srun_wins() -> None:
    torchrun = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "h", "MASTER_PORT": "5"}
    srun = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"}
    assert parallel.place(torchrun | srun) == (1, 4, 1, "h", 5)


@pytest.mark.parametrize("changes", [{"RANK": "4"}, {"RANK": "x"}, {"MASTER_PORT": ""}])
def test_wrong_launcher_variables_are_named(changes: dict[str, str]) -> None:
    with pytest.raises(UserError, match="RANK"):
        parallel.place({"RANK": "0", "WORLD_SIZE": "4"} | changes)


def test_alone_every_collective_is_the_identity() -> None:
    x = torch.arange(6.0).view(3, 2)
    assert (parallel.rank(), parallel.world(), parallel.is_main()) == (0, 1, True)
    assert torch.equal(parallel.all_gather(x), x)
    assert torch.equal(parallel.all_reduce_(x.clone(), "mean"), x)
    parallel.broadcast_([x])
    parallel.barrier()


COLLECTIVES = """
    import torch
    from lewel import parallel as p
    p.start(torch.device("cpu"), timeout_s=60)
    rank = p.rank()
    assert (p.world(), p.local_rank(), p.is_main()) == (2, rank, rank == 0)
    gathered = p.all_gather(torch.full((3, 2), float(rank), requires_grad=True))
    assert gathered.tolist() == [[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 3 and not gathered.requires_grad
    for op, value in {"sum": 1.0, "mean": 0.5, "max": 1.0, "min": 0.0}.items():
        assert p.all_reduce_(torch.tensor(float(rank)), op).item() == value
    a, b, c = torch.full((2, 3), float(rank)).t(), torch.tensor(rank), torch.full((2,), rank == 0)
    d = torch.full((4,), float(rank + 7))
    p.broadcast_([a, b, c, d])
    assert a.eq(0).all() and b.item() == 0 and c.all() and d.eq(7).all()
    p.barrier()
    p.stop()
    print("done", rank)
"""


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_collectives_of_two_processes(launcher: str) -> None:
    assert run_processes(COLLECTIVES, launcher=launcher) == ["done 0\n", "done 1\n"]


def test_a_missing_process_is_an_error_after_the_timeout() -> None:
    code = f"""
        import os, torch
        from lewel import parallel
        os.environ |= dict(RANK="0", WORLD_SIZE="2", MASTER_PORT="{free_port()}")
        parallel.start(torch.device("cpu"), timeout_s=2)
    """
    began = time.monotonic()
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert "UserError: process 0 of 2 could not join" in ended.stderr
    assert time.monotonic() - began < 100  # torch's own timeout is half an hour
