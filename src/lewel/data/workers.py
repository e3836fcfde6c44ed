"""The processes that decode and augment, and how a run outlives their end.

A worker's answer is a pure function of its order: one that was killed or is stuck is ended for sure, and another one
does its orders again. Each worker has a socket of its own, no two processes share a lock, and every wait has an end, so
that none can hold up another by stopping at the wrong moment. (PyTorch's DataLoader waits for ever for a stopped worker
whose answer is under way, and raises the death of one in the middle of a training step.) Answers travel through the
sockets: nothing lies in /dev/shm, which containers keep small.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import islice
from multiprocessing import connection, util
from typing import NamedTuple, Protocol, runtime_checkable
from weakref import WeakSet

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from lewel import parallel
from lewel.data.images import Images
from lewel.data.tensors import Colours
from lewel.errors import UserError
from lewel.shapes import Skip

log = logging.getLogger(__name__)

MOST = 16  # workers, where nobody says how many
AHEAD = 2  # orders for each worker: those that are done early begin the next
TIMEOUT_S = 120.0  # without a further image; TRIES times this must be less than other processes wait for this one
TRIES = 3  # of one order, before the run stops
END_S = 5.0  # for the system to take a killed process away

Order = tuple[int, list[int]]  # an epoch, and images of it


class Drawn(NamedTuple):
    """What a worker sends: v views of b images, with the geometry of the augmented ones.

    pixels: RGB, or RGB and a byte of padding where there are colours left to do.
    colours: of each view, what the main process has to do to the pixels; empty where nothing is left to do.
    """

    pixels: UInt8[Tensor, "v b h w c"]
    colours: tuple[Colours, ...]
    boxes: Float[Tensor, "v b 4"] | None
    flips: Bool[Tensor, "v b"] | None
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


Answer = Drawn | Exception


@runtime_checkable
class Views(Protocol):
    """What a worker runs: from an order to views of `images`; calls `reading` with each image before it is read."""

    images: Images

    def __getitem__(self, order: Order) -> Drawn: ...


def default_workers(device: torch.device) -> int:
    """For a CPU that trains one, its other cores compute; for a GPU this process's share of the machine, at most 16."""
    if device.type == "cpu":
        return 1
    cores = parallel.cores()
    bound = cores < (os.cpu_count() or 1)  # srun has given this process cores of its own
    return max(1, min(MOST, cores if bound else cores // parallel.processes_here()))


def work(
    views: Views, orders: Iterable[Order], workers: int, device: torch.device, timeout_s: float = TIMEOUT_S
) -> Generator[Drawn]:
    """The views of each order, in order. workers: 0 does the work here.

    device: where the answers go; pixels are pinned for CUDA. timeout_s: a worker that begins no further image for so
    long is stuck. A worker that was killed or is stuck is replaced, with a warning, and its answers are the same.
    The workers end with the generator. Raises UserError when TRIES of them fail at one order, or none can be started.
    """
    if workers == 0:
        yield from (views[order] for order in orders)
        return
    with ExitStack() as opened:
        pool = [opened.enter_context(closing(_Worker(views, timeout_s))) for _ in range(workers)]
        for answer in _in_order(pool, enumerate(orders)):
            if isinstance(answer, Exception):
                raise answer
            yield answer._replace(pixels=answer.pixels.pin_memory()) if device.type == "cuda" else answer


# -- in the main process


def _in_order(pool: list[_Worker], orders: Iterator[tuple[int, Order]]) -> Iterator[Answer]:
    """The answers in order, although whoever is free gets the next order; at most AHEAD times the pool is under way."""
    turn, answers = 0, dict[int, Answer]()
    while True:
        busy = [worker for worker in pool if worker.number is not None]
        free = [worker for worker in pool if worker.number is None][: AHEAD * len(pool) - len(busy) - len(answers)]
        for worker in free:
            for number, order in islice(orders, 1):
                worker.ask(number, order)
                busy.append(worker)
        if turn in answers:
            yield answers.pop(turn)
            turn += 1
        elif busy:
            for worker in _ready(busy):
                answers |= worker.answer()
        else:
            return


def _ready(busy: list[_Worker]) -> list[_Worker]:
    """Those that have sent something, or their end. The others are told how long that took, when none has."""
    step = min(1.0, busy[0].timeout_s / 4)
    ready = connection.wait([worker.process.socket for worker in busy], step)
    if not ready:
        for worker in busy:
            worker.waited(step)
    return [worker for worker in busy if worker.process.socket in ready]


class _Worker:
    """One order at a time, by one process after the other where that must be."""

    def __init__(self, views: Views, timeout_s: float) -> None:
        self.views, self.timeout_s = views, timeout_s
        self.number: int | None = None  # of the order that it has
        self.order: Order = (0, [])
        self.failures = 0  # at this order
        self.process = self._start()

    def ask(self, number: int, order: Order) -> None:
        self.number, self.order, self.failures = number, order, 0
        self._send()

    def answer(self) -> dict[int, Answer]:
        """By number; empty when the process failed and another one begins anew. Raises UserError for the last try."""
        assert self.number is not None
        try:
            found = {self.number: self.process.receive()}
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self._replace(error)
            return {}
        self.number = None
        return found

    def waited(self, seconds: float) -> None:
        """Without any answer. What counts is waiting, not the clock: a group that was stopped has lost no time."""
        if self.process.progress[1] != self.seen:
            self.seen, self.silent_s = self.process.progress[1], 0.0
        self.silent_s += seconds
        if self.silent_s >= self.timeout_s:
            self._replace(TimeoutError())

    def close(self) -> None:
        self.process.end()

    def _send(self) -> None:
        self.seen, self.silent_s = self.process.progress[1], 0.0
        self.process.send(self.order)

    def _start(self) -> _Process:
        try:
            return _Process(self.views, self.timeout_s)
        except OSError as error:
            raise UserError(f"no data worker can be started ({error.strerror}); use fewer --workers") from error

    def _replace(self, error: Exception) -> None:
        """Put another process in the place of one that failed, or raise UserError."""
        happened, advice = self.process.failure(error)
        index, begun = self.process.progress
        idle = "between two batches" if begun else "at its start"
        image = f"while reading {self.views.images.path(index)}" if index >= 0 else idle
        self.failures += 1
        if self.failures == TRIES:
            raise UserError(f"{happened} {image}, the last of {TRIES} in a row; {advice}") from error
        log.warning("%s %s; another one does its work again", happened, image)
        self.process.end()
        self.process = self._start()
        self._send()


_ours: WeakSet[socket.socket] = WeakSet()  # the main process's ends of all sockets


class _Process:
    """A process that answers orders. progress: the image that it is at, -1 between two batches, and a count of them."""

    def __init__(self, views: Views, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.progress = multiprocessing.RawArray("q", [-1, 0])
        self.socket, theirs = socket.socketpair()
        with theirs:
            _ours.add(self.socket)
            self.process = multiprocessing.Process(target=_serve, args=(views, theirs, self.progress), daemon=True)
            self.process.start()
        self.socket.settimeout(timeout_s)
        self.answers = self.socket.makefile("rb")
        self.end = util.Finalize(self, _end, (self.process, self.socket, self.answers), exitpriority=0)

    def send(self, order: Order) -> None:
        with suppress(OSError):  # it is dead or stuck; `receive` will notice
            self.socket.sendall(pickle.dumps(order))

    def receive(self) -> Answer:
        """What was sent. Raises what the end of a process or, in the middle of an answer, of its progress causes."""
        return pickle.load(self.answers)

    def failure(self, error: Exception) -> tuple[str, str]:
        """What happened to it, and what a user can do."""
        name = f"data worker {self.process.pid}"
        if isinstance(error, TimeoutError):
            return f"{name} did nothing for {self.timeout_s:g} s", "see whether the disk answers"
        self.process.join(END_S)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"{name} ended with exit code {code}", "what it said stands above"
        advice = "often for lack of memory: use fewer --workers" if code == -9 else "try without this image"
        return f"{name} was killed by signal {-code} ({signal.strsignal(-code)})", advice


def _end(process: multiprocessing.Process, *ends) -> None:
    """Now, and whatever state the process is in; it holds nothing that others need."""
    process.kill()
    process.join(END_S)
    for end in ends:
        end.close()


# -- in a worker

_progress = (ctypes.c_longlong * 2)(-1, 0)


def reading(index: int) -> None:
    """Say that this process begins with an image, so that the main process can name it and knows that work goes on."""
    _progress[0] = index
    _progress[1] += 1


def _serve(views: Views, theirs: socket.socket, progress: ctypes.Array[ctypes.c_longlong]) -> None:
    """A worker's life: answer orders until the main process is gone or kills it."""
    global _progress
    _progress = progress
    _leave_signals_to_the_parent()
    for ours in list(_ours):  # after a fork they are open here too, and no other worker would see the parent's end
        if ours.fileno() >= 0:
            socket.close(ours.detach())
    torch.set_num_threads(1)
    orders, answers = theirs.makefile("rb"), theirs.makefile("wb")
    with suppress(EOFError, ConnectionError):
        while True:
            answer = _answer(views, pickle.load(orders))
            _progress[0] = -1
            _Pickler(answers, pickle.HIGHEST_PROTOCOL).dump(answer)
            answers.flush()


def _leave_signals_to_the_parent() -> None:
    """A terminal or a scheduler signals the whole group; the parent finishes its step and needs the workers for it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _answer(views: Views, order: Order) -> Answer:
    try:
        return views[order]
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        error.add_note(f"in a data worker:\n{text}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(text)
        return error


class _Pickler(pickle.Pickler):
    """Tensors as their numbers: torch's own way sends a handle that is worth nothing without its sender."""

    def reducer_override(self, value: object):
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, Tensor) else NotImplemented
