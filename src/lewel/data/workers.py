"""The processes that decode and augment, and how a run outlives their end.

A worker's answer is a pure function of its order: one that was killed or is stuck is ended for sure, and another one
does its orders again. Each worker has a socket of its own, no two processes share a lock, and every wait has an end, so
that none can hold up another by stopping at the wrong moment. (PyTorch's DataLoader waits for ever for a stopped worker
whose answer is under way, and raises the death of one in the middle of a training step.) Answers travel through the
sockets: nothing lies in /dev/shm, which containers keep small.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing import connection, util
from threading import Condition, Thread, current_thread
from typing import Any

import torch

from lewel import parallel
from lewel.data import remarks, serving
from lewel.data.decode import printable
from lewel.data.objects import Objects
from lewel.data.serving import Order, Sent, Served
from lewel.errors import UserError
from lewel.shapes import Skip

log = logging.getLogger(__name__)

MOST = 16  # workers, where nobody says how many
AHEAD = 2  # orders for each worker: those that are done early begin the next
TIMEOUT_S = 120.0  # without a further image; TRIES times this must be less than other processes wait for this one
TRIES = 3  # of one order, before the run stops
END_S = 5.0  # for the system to take a killed process away


def default_workers(device: torch.device) -> int:
    """For a CPU that trains one, its other cores compute; for a GPU this process's share of the machine, at most 16."""
    if device.type == "cpu":
        return 1
    cores = parallel.cores()
    bound = cores < (os.cpu_count() or 1)  # srun has given this process cores of its own
    return max(1, min(MOST, cores if bound else cores // parallel.processes_here()))


def work(
    views: Served[Sent], orders: Iterable[Order], workers: int, device: torch.device, timeout_s: float = TIMEOUT_S
) -> Generator[Sent]:
    """What is made of each order, in order. workers: 0 does the work here.

    device: where the answers go; pixels are pinned for CUDA. timeout_s: a worker that begins no further image for so
    long is stuck. A worker that was killed or is stuck is replaced, with a warning, and its answers are the same.
    A thread receives and pins what is done before its turn. Workers and thread end with the generator. Raises
    UserError when TRIES of them fail at one order, or none can be started.
    """
    with ExitStack() as opened:
        opened.callback(remarks.tell)
        if workers == 0:
            yield from (views[order] for order in orders)
            return
        if isinstance(views.images, Objects) and multiprocessing.get_start_method() != "fork":
            raise UserError(
                f"--workers {workers}: data in memory reach worker processes only by fork, which is not in use here; "
                "take --workers 0, or give a path"
            )
        opened.enter_context(_shared_objects_left_alone())
        too_slow: dict[int, Skip] = {}
        pool = [opened.enter_context(closing(_Worker(views, timeout_s, too_slow))) for _ in range(workers)]
        for answer in opened.enter_context(closing(_Receiver(pool, orders, device))):
            if isinstance(answer, Exception):
                raise answer
            yield answer


_pools = 0  # that run


@contextmanager
def _shared_objects_left_alone() -> Iterator[None]:
    """No collection looks at what is there now: it writes to each object, and all imports are 100 MB of pages.

    Forked workers share these pages until one of the processes writes to them. Garbage is collected before, and what
    was left alone is collected again once no pool runs. Nothing changes for a program that has frozen objects itself.
    """
    global _pools
    if _pools == 0 and gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    _pools += 1
    try:
        yield
    finally:
        _pools -= 1
        if _pools == 0:
            gc.unfreeze()


# -- in the main process


class _Receiver:
    """A thread that takes the answers as they come, pins them, and gives whoever is free the next order.

    The caller's thread starts processes, never this one: a fork in the midst of the caller's work copies its locks.
    A worker that failed (`error` is set) is the caller's until it is replaced; every other one is the thread's.
    """

    def __init__(self, pool: list[_Worker], orders: Iterable[Order], device: torch.device) -> None:
        self.pool, self.orders = list(pool), enumerate(orders)
        self.gpu = torch.device("cuda", torch.cuda.current_device()) if device == torch.device("cuda") else device
        self.answers: dict[int, Any] = {}
        self.turn, self.asked, self.all_asked = 0, 0, False
        self.closed, self.error = False, None
        self.changed = Condition()
        self.woken, self.bell = socket.socketpair()
        self.bell.setblocking(False)
        self.thread = Thread(target=self._run, name="lewel-receiver", daemon=True)
        self.thread.start()
        self.close = util.Finalize(None, self._end, exitpriority=1)  # before the processes' own end

    def __iter__(self) -> Iterator[Any]:
        """The answers in order."""
        while True:
            self._replace_failed()
            with self.changed:
                self.changed.wait_for(self._is_news, 1.0)  # Windows: Ctrl-C does not end a wait
                if self.turn not in self.answers:
                    if self.error is not None:
                        raise self.error
                    if self._is_all():
                        return
                    continue
                answer = self.answers.pop(self.turn)
                self.turn += 1
            self._wake()
            yield answer

    def _is_news(self) -> bool:
        failed = any(worker.error is not None for worker in self.pool)
        return self.turn in self.answers or failed or self.error is not None or self._is_all()

    def _is_all(self) -> bool:
        return self.all_asked and self.turn == self.asked

    def _replace_failed(self) -> None:
        for worker in [worker for worker in self.pool if worker.error is not None]:
            last = worker.replace()
            with self.changed:
                if last is not None and worker.number is not None:
                    self.answers[worker.number] = last
                    self.pool.remove(worker)
            self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has enough to wake up from
            self.bell.send(b"!")

    def _end(self) -> None:
        self.closed = True
        for worker in self.pool:
            worker.process.process.kill()  # an answer that is under way ends
        self._wake()
        if current_thread() is not self.thread:  # which may collect the garbage
            self.thread.join()
        self.woken.close()
        self.bell.close()

    # -- in the thread

    def _run(self) -> None:
        try:
            if self.gpu.type == "cuda":
                torch.cuda.set_device(self.gpu)  # a thread's own
            while not self.closed:
                self._hand_out()
                self._receive()
        except BaseException as error:
            self.error = error
        with self.changed:
            self.changed.notify()

    def _hand_out(self) -> None:
        """At most AHEAD times the pool are under way or wait for their turn."""
        with self.changed:
            free = [worker for worker in self.pool if worker.number is None]
            room = (AHEAD - 1) * len(self.pool) + len(free) - len(self.answers)
        free = free[: max(0, room)]
        given = list(zip(free, self.orders, strict=False))
        for worker, (number, order) in given:
            worker.ask(number, order)
        with self.changed:
            self.asked += len(given)
            self.all_asked = len(given) < len(free) or self.all_asked
            self.changed.notify()

    def _receive(self) -> None:
        """What has been sent, or the ends of processes. The busy are told how long that took, when nothing has."""
        with self.changed:
            busy = [worker for worker in self.pool if worker.number is not None and worker.error is None]
        step = min(1.0, busy[0].timeout_s / 4) if busy else None
        ready = connection.wait([self.woken, *(worker.process.socket for worker in busy)], step)
        if self.woken in ready:
            self.woken.recv(4096)
        for worker in busy:
            if not ready and step is not None:
                worker.waited(step)
            elif worker.process.socket in ready:
                found = {number: _pinned(answer, self.gpu) for number, answer in worker.answer().items()}
                with self.changed:
                    self.answers |= found
        with self.changed:
            self.changed.notify()


def _pinned(answer: Any, device: torch.device) -> Any:
    if device.type != "cuda" or isinstance(answer, Exception):
        return answer
    return answer._replace(pixels=answer.pixels.pin_memory())


class _Worker:
    """One order at a time, by one process after the other where that must be.

    too_slow: of all workers, the images that have ended one by its limit of CPU time: they count as unreadable.
    """

    def __init__(self, views: Served[Any], timeout_s: float, too_slow: dict[int, Skip]) -> None:
        self.views, self.timeout_s, self.too_slow = views, timeout_s, too_slow
        self.number: int | None = None  # of the order that it has
        self.order: Order = (0, [])
        self.failures = 0  # at this order
        self.error: Exception | None = None  # what its process failed by
        self.process = self._start()

    def ask(self, number: int, order: Order) -> None:
        self.number, self.order, self.failures = number, order, 0
        self._send()

    def answer(self) -> dict[int, Any]:
        """By number; empty when the process failed."""
        assert self.number is not None
        try:
            found = {self.number: self.process.receive()}
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.error = error
            return {}
        self.number = None
        return found

    def waited(self, seconds: float) -> None:
        """Without any answer. What counts is waiting, not the clock: a group that was stopped has lost no time."""
        if self.process.progress[1] != self.seen:
            self.seen, self.silent_s = self.process.progress[1], 0.0
        self.silent_s += seconds
        if self.silent_s >= self.timeout_s:
            self.error = TimeoutError()

    def close(self) -> None:
        self.process.end()

    def _send(self) -> None:
        self.seen, self.silent_s = self.process.progress[1], 0.0
        self.process.send(self.order, dict(self.too_slow))

    def _start(self) -> _Process:
        try:
            return _Process(self.views, self.timeout_s)
        except OSError as error:
            raise UserError(f"no data worker can be started ({error.strerror}); use fewer --workers") from error

    def replace(self) -> UserError | None:
        """Put another process in the place of the one that failed; after the last try, why not."""
        assert self.error is not None
        happened, advice = self.process.failure(self.error)
        index, begun = self.process.progress
        idle = "between two batches" if begun else "at its start"
        image = f"while reading {printable(self.views.images.path(index))}" if index >= 0 else idle
        if index >= 0 and self.process.computed_too_long():
            self.too_slow[index] = serving.slow(self.views.images.path(index))
        else:
            self.failures += 1
        if self.failures == TRIES:
            last = UserError(f"{happened} {image}, the last of {TRIES} in a row; {advice}")
            last.__cause__ = self.error
            return last
        log.warning("%s %s; another one does its work again", happened, image)
        self.process.end()
        self.process = self._start()
        self._send()
        self.error = None
        return None


class _Process:
    """A process that answers orders. progress: the image that it is at, -1 between two batches, and a count of them."""

    def __init__(self, views: Served[Any], timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.progress = serving.shared_progress()
        self.socket, theirs = socket.socketpair()
        with theirs:
            serving.ours.add(self.socket)
            self.process = multiprocessing.Process(
                target=serving.serve, args=(views, theirs, self.progress), daemon=True
            )
            with _apart_from_main():
                self.process.start()
        self.socket.settimeout(timeout_s)
        self.answers = self.socket.makefile("rb")
        self.end = util.Finalize(self, _end, (self.process, self.socket, self.answers), exitpriority=0)

    def send(self, order: Order, too_slow: dict[int, Skip]) -> None:
        with suppress(OSError):  # it is dead or stuck; `receive` will notice
            self.socket.sendall(pickle.dumps((order, too_slow)))

    def receive(self) -> Any:
        """What was sent. Raises what the end of a process or, in the middle of an answer, of its progress causes."""
        answer, notes = pickle.load(self.answers)
        remarks.add(notes)
        return answer

    def computed_too_long(self) -> bool:
        """Whether the system has ended it for that."""
        return hasattr(signal, "SIGXCPU") and self.process.exitcode == -signal.SIGXCPU

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


@contextmanager
def _apart_from_main() -> Iterator[None]:
    """Context in which a process that is spawned does not import the user's script, which would run it once more."""
    main = sys.modules["__main__"].__dict__
    known = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(known)


def _end(process: multiprocessing.Process, *ends) -> None:
    """Now, and whatever state the process is in; it holds nothing that others need."""
    process.kill()
    process.join(END_S)
    for end in ends:
        end.close()
