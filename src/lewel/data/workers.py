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
import pickle
import signal
import socket
import traceback
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing, suppress
from itertools import cycle, islice
from multiprocessing import connection, util
from typing import NamedTuple, Protocol, runtime_checkable
from weakref import WeakSet

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from lewel.data.images import Images
from lewel.data.tensors import Colours
from lewel.errors import UserError
from lewel.shapes import Skip

log = logging.getLogger(__name__)

AHEAD = 2  # orders that a worker holds: it begins the next while an answer waits to be taken
TIMEOUT_S = 120.0  # without a further image; TRIES times this must be less than other processes wait for this one
TRIES = 3  # of one order, before the run stops
END_S = 5.0  # for the system to take a killed process away

Order = tuple[int, list[int]]  # an epoch, and images of it


class Drawn(NamedTuple):
    """What a worker sends: v views of b images, with the geometry of the augmented ones.

    colours: of each view, what the main process has to do to the pixels; empty where nothing is left to do.
    """

    pixels: UInt8[Tensor, "v b h w 3"]
    colours: tuple[Colours, ...]
    boxes: Float[Tensor, "v b 4"] | None
    flips: Bool[Tensor, "v b"] | None
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


@runtime_checkable
class Views(Protocol):
    """What a worker runs: from an order to views of `images`; calls `reading` with each image before it is read."""

    images: Images

    def __getitem__(self, order: Order) -> Drawn: ...


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
    waiting = iter(orders)
    with ExitStack() as opened:
        pool = [opened.enter_context(closing(_Worker(views, timeout_s))) for _ in range(workers)]
        turns: deque[_Worker] = deque()
        for order, worker in zip(islice(waiting, AHEAD * workers), cycle(pool)):
            worker.ask(order)
            turns.append(worker)
        while turns:
            worker = turns.popleft()
            drawn = worker.answer()
            for order in islice(waiting, 1):
                worker.ask(order)
                turns.append(worker)
            yield drawn._replace(pixels=drawn.pixels.pin_memory()) if device.type == "cuda" else drawn


# -- in the main process


class _Worker:
    """Orders and their answers, by one process after the other where that must be."""

    def __init__(self, views: Views, timeout_s: float) -> None:
        self.views, self.timeout_s = views, timeout_s
        self.orders: deque[Order] = deque()  # not yet answered
        self.process = self._start()

    def ask(self, order: Order) -> None:
        self.orders.append(order)
        self.process.send(order)

    def answer(self) -> Drawn:
        """Of the oldest order. Raises what the views raised, and UserError when no process gets through it."""
        for left in reversed(range(TRIES)):
            try:
                answer = self.process.receive()
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                self._replace(error, left)
                continue
            self.orders.popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise AssertionError("the last try raises")

    def close(self) -> None:
        self.process.end()

    def _start(self) -> _Process:
        try:
            return _Process(self.views, self.timeout_s)
        except OSError as error:
            raise UserError(f"no data worker can be started ({error.strerror}); use fewer --workers") from error

    def _replace(self, error: Exception, left: int) -> None:
        """Put another process in the place of one that failed, or raise UserError when there is none left to try."""
        happened, advice = self.process.failure(error)
        index = self.process.progress[0]
        image = f"while reading {self.views.images.path(index)}" if index >= 0 else "between two batches"
        if not left:
            raise UserError(f"{happened} {image}, the last of {TRIES} in a row; {advice}") from error
        log.warning("%s %s; another one does its work again", happened, image)
        self.process.end()
        self.process = self._start()
        for order in self.orders:
            self.process.send(order)


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

    def receive(self) -> Drawn | Exception:
        """The next answer. Raises TimeoutError when no image is begun in time, else what the end of a process causes.

        The time is that of waiting here: when the whole group was stopped and goes on, none has passed.
        """
        step, seen, waited = min(1.0, self.timeout_s), self.progress[1], 0.0
        while not connection.wait([self.socket], step):
            waited = waited + step if self.progress[1] == seen else 0.0
            seen = self.progress[1]
            if waited >= self.timeout_s:
                raise TimeoutError
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


def _answer(views: Views, order: Order) -> Drawn | Exception:
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
