"""One process or many: torchrun, srun, or alone.

Everything above asks this module and never `torch.distributed`; in a run of one process each call is the identity, so
that no caller needs two paths. On CUDA the group has NCCL for tensors on the device and gloo for tensors on the host.
"""

from __future__ import annotations

import datetime
import gc
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn  # imported after `start`, its default arguments would hold the group for ever
from torch import Tensor

from lewel import lifeline
from lewel.errors import Told, UserError, reason
from lewel.lifeline import Lifeline, LostProcessError

Error = TypeVar("Error", bound=Told)
Operation = Literal["sum", "mean", "max", "min"]


class Place(NamedTuple):
    """This process among all: rank 0..world-1, its number on its own machine, and where rank 0 listens."""

    rank: int
    world: int
    local_rank: int
    address: str
    port: int


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Read this process's place from torchrun's variables, else from srun's, else alone.

    A batch script's own environment has SLURM_NTASKS too; only a step started by srun has a step number, so a plain
    `python` in a script of many tasks runs alone instead of waiting for processes that nobody started.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _named_place(environment, "RANK", "WORLD_SIZE", "LOCAL_RANK", "127.0.0.1", 29500)
    if "SLURM_PROCID" in environment and "SLURM_STEP_ID" in environment:
        tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "127.0.0.1"
        job, step = environment.get("SLURM_JOB_ID", "0"), environment["SLURM_STEP_ID"]
        return _named_place(environment, "SLURM_PROCID", tasks, "SLURM_LOCALID", first_host(nodes), _port(job, step))
    return Place(0, 1, 0, "127.0.0.1", 29500)


def processes_here(environment: Mapping[str, str] = os.environ) -> int:
    """How many of the processes are on this machine, by the launcher's variables; all of them where it does not say."""
    said = environment.get("LOCAL_WORLD_SIZE") or environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    number = re.match(r"\d+", said)  # srun: "8(x4)"
    return int(number[0]) if number else place(environment).world


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _named_place(env: Mapping[str, str], rank: str, world: str, local: str, address: str, port: int) -> Place:
    try:
        number, total, on_machine = int(env[rank]), int(env[world]), int(env.get(local, "0"))
        where = Place(number, total, on_machine, env.get("MASTER_ADDR", address), int(env.get("MASTER_PORT", port)))
    except (KeyError, ValueError) as error:
        names = f"{rank}, {world}, {local}, MASTER_PORT"
        raise UserError(f"the launcher's variables {names} must be set to integers: {error}") from error
    if not 0 <= number < total:
        raise UserError(f"{rank}={number} is not in 0..{total - 1} ({world}={total}); start with torchrun or srun")
    return where


def _port(job: str, step: str) -> int:
    """The same port on every task of a step, another for another job on a shared machine."""
    digits = [int(part) if part.isdigit() else 0 for part in (job, step)]
    return 15000 + (digits[0] * 7 + digits[1]) % 20000


def first_host(nodelist: str) -> str:
    """The first host of Slurm's compressed list: `gpu[07-09,12],login` -> `gpu07`."""
    first = re.split(r",(?![^\[]*\])", nodelist.strip())[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)


_local_rank = 0
_lifeline: Lifeline | None = None
_timeout_s = 600.0


@contextmanager
def group(device: Callable[[], torch.device], timeout_s: float = 600.0) -> Iterator[None]:
    """Join the processes that the launcher announced, and leave them at the end.

    device: chooses this process's; where it raises UserError, every process does.
    timeout_s: how long a collective call waits for the others.
    Raises UserError, instead of what a collective call raises, when another process has ended or does not answer.
    """
    chosen, problem = torch.device("cpu"), ""
    try:
        chosen = device()
    except UserError as error:
        problem = str(error)
    start(chosen, timeout_s)
    together = False
    try:
        with explained():
            raise_together(problem)
            yield
        together = True
    except Exception as error:
        together = getattr(error, "everywhere", False)
        if isinstance(error, UserError):
            error.leave_at_once = world() > 1 and not together
        raise
    finally:
        stop(farewell=together)


@contextmanager
def explained() -> Iterator[None]:
    """Raises UserError in the place of a collective call's error, where its cause is known."""
    try:
        yield
    except RuntimeError as error:
        cause = _cause(error)
        if cause is None:
            raise
        raise cause from error


def _cause(error: RuntimeError) -> UserError | None:
    if _lifeline is not None and _lifeline.notices():
        return LostProcessError(_lifeline)
    if world() > 1 and re.search("time.?out|timed out", str(error), re.IGNORECASE):
        return UserError(
            f"process {rank()} of {world()}: another process did not answer for {_timeout_s:g} s (--timeout); see "
            "whether all still run; the same command goes on from the last checkpoint"
        )
    return None


def start(device: torch.device, timeout_s: float = 600.0) -> None:
    """Join the group of processes that the launcher announced; alone, do nothing but choose the device.

    device: "cuda" takes the GPU of this process's number on its machine and NCCL, any other gloo.
    timeout_s: after so many seconds without an answer from another process a collective call raises.
    Raises UserError when this machine has fewer GPUs than processes, or rank 0 cannot be reached.
    """
    global _local_rank, _lifeline, _timeout_s
    where = place()
    _local_rank = where.local_rank
    if device.type == "cuda":
        _take_gpu(where.local_rank if device.index is None else device.index)
    if where.world == 1 or dist.is_initialized():
        return
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            init_method=f"tcp://{where.address}:{where.port}",
            rank=where.rank,
            world_size=where.world,
            timeout=datetime.timedelta(seconds=timeout_s),
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"process {where.rank} of {where.world} could not join rank 0 at {where.address}:{where.port} ({reason}); "
            "set MASTER_ADDR and MASTER_PORT to where rank 0 can be reached, on a free port"
        ) from error
    _timeout_s = timeout_s
    _lifeline = lifeline.join(where.rank, where.world, where.address, timeout_s, all_gather_objects)


def _take_gpu(index: int) -> None:
    if index >= torch.cuda.device_count():
        raise UserError(
            f"GPU {index} is not there: this machine has {torch.cuda.device_count()}; "
            "start as many processes as GPUs, or use --device cpu"
        )
    torch.cuda.set_device(index)


def stop(farewell: bool = True) -> None:
    """Leave the group, if there is one. farewell: the other processes leave it now too, and need not mind.

    Its threads end with the last reference to it; one that lives on into the interpreter's shutdown may abort the
    process (exit code 134 after all work is done). So what still holds it in a reference cycle is collected first.
    """
    global _lifeline
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()
    if _lifeline is not None:
        _lifeline.close(farewell)
        _lifeline = None


def rank() -> int:
    """This process's number, 0..world-1."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """This process's number on its own machine."""
    return _local_rank


def is_main() -> bool:
    """True in the one process that writes files and speaks to the user."""
    return rank() == 0


def all_gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, of equal shape, concatenated on dim 0 in rank order. Carries no gradient."""
    if world() == 1:
        return tensor.detach()
    mine = tensor.detach().contiguous()
    whole = mine.new_empty((world() * mine.shape[0], *mine.shape[1:]))
    dist.all_gather_into_tensor(whole, mine)
    return whole


def all_reduce_(tensor: Tensor, op: Operation = "sum") -> Tensor:
    """Replace `tensor` by the sum, mean, maximum or minimum over all processes, in place, and return it."""
    if world() == 1:
        return tensor
    dist.all_reduce(tensor, {"max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}.get(op, dist.ReduceOp.SUM))
    return tensor.div_(world()) if op == "mean" else tensor


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors by those of rank 0, in place; one message for each dtype and device."""
    if world() == 1:
        return
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
        dist.broadcast(flat, 0)
        for tensor, part in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def all_gather_objects(mine: list[Any]) -> list[Any]:
    """The lists of all processes, joined in rank order. For small Python objects, now and then."""
    if world() == 1:
        return mine
    lists: list[Any] = [None] * world()
    dist.all_gather_object(lists, mine)
    return [item for part in lists for item in part]


def raise_together(problem: str) -> None:
    """Raise the problem that one process has as a UserError on every process, so that none waits for it; "" is none."""
    found = [text for text in all_gather_objects([problem]) if text]
    if found:
        raise everywhere(UserError(found[0]))


def everywhere(error: Error) -> Error:
    """Mark an error that every process raises now; process 0 prints it."""
    error.everywhere, error.told_elsewhere = True, not is_main()
    return error


def on_main(work: Callable[[], object], told: Callable[[str], str] = str) -> None:
    """Do `work` on process 0 while the others wait; what goes wrong there is raised as a UserError on every process.

    told: makes the message for the user from an OSError's reason; by default the reason alone.
    """
    problem = ""
    if is_main():
        try:
            work()
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = told(reason(error))
    raise_together(problem)


def barrier() -> None:
    """Wait until every process is here."""
    if world() > 1:
        dist.all_reduce(torch.zeros(1))
