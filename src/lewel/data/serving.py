"""What a data worker does: it answers orders, one after the other, until the main process is gone or kills it."""

from __future__ import annotations

import ctypes
import math
import mmap
import multiprocessing
import pickle
import signal
import socket
import time
import traceback
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable
from weakref import WeakSet

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from lewel.data import remarks
from lewel.data.budget import SECONDS, limits
from lewel.data.decode import DecodeError
from lewel.data.images import Images
from lewel.data.tensors import Colours
from lewel.shapes import Skip

try:
    import resource
except ImportError:  # Windows
    resource = None

Order = tuple[int, list[int]]  # an epoch, and images of it
CLOCK = 2  # times the limit on the estimate: machines differ, and the clock is for what no estimate foresees


class Drawn(NamedTuple):
    """What a worker sends: v views of b images, with the geometry of the augmented ones.

    pixels: RGB, or RGB and a byte of padding where there are colours left to do.
    colours: of each view, what the main process has to do to the pixels; empty where nothing is left to do.
    """

    pixels: UInt8[Tensor, "v b h w c"]
    colours: tuple[Colours, ...]
    geometry: Int[Tensor, "v b 8"] | None
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


@runtime_checkable
class HasPixels(Protocol):
    """What any worker sends: a named tuple of tensors, of which the pixels are the most."""

    @property
    def pixels(self) -> UInt8[Tensor, ...]: ...
    def _replace(self, *, pixels: Tensor) -> Any: ...


@runtime_checkable
class Located(Protocol):
    """Images that have names."""

    def path(self, index: int) -> str: ...


Sent = TypeVar("Sent", bound=HasPixels, covariant=True)


@runtime_checkable
class Served(Protocol[Sent]):
    """What a worker runs: from an order to what is made of its `images`; calls `reading` before it reads each."""

    @property
    def images(self) -> Located: ...
    def __getitem__(self, order: Order) -> Sent: ...


@runtime_checkable
class Views(Protocol):
    """Images that become views, of one size."""

    images: Images

    def __getitem__(self, order: Order) -> Drawn: ...


ours: WeakSet[socket.socket] = WeakSet()  # the main process's ends of all sockets
_progress = (ctypes.c_longlong * 2)(-1, 0)
_too_slow: dict[int, Skip] = {}  # images that have ended a worker
_is_worker = False


def shared_progress() -> ctypes.Array[ctypes.c_longlong]:
    """The image that a worker is at, none yet, and how many it has begun: numbers that it shares with its parent.

    A forked process has every shared mapping; multiprocessing's own memory wants a /dev/shm that can be written.
    """
    if multiprocessing.get_start_method() != "fork":
        return multiprocessing.RawArray("q", [-1, 0])
    pair = (ctypes.c_longlong * 2).from_buffer(mmap.mmap(-1, 16))
    pair[:] = [-1, 0]
    return pair


def reading(index: int) -> None:
    """Say that this process begins with an image, so that the main process can name it and knows that work goes on.

    A worker that then computes for more than `CLOCK` times the limit is ended by the system. Raises DecodeError for an
    image that has ended one so.
    """
    _progress[0] = index
    _progress[1] += 1
    if index in _too_slow:
        raise DecodeError(*_too_slow[index])
    if _is_worker:
        _end_after(CLOCK * limits().seconds)


def slow(path: str) -> Skip:
    """What is said of an image that has ended a worker."""
    return Skip(path, f"takes more than {CLOCK * limits().seconds:g} s of CPU time to decode, {CLOCK} x {SECONDS}")


def _end_after(seconds: float) -> None:
    """By SIGXCPU, after so many seconds of CPU time, whatever code is running; infinity: never."""
    if resource is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    end = most if seconds == math.inf else math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (end if most == resource.RLIM_INFINITY else min(end, most), most))


def serve(views: Served[Any], theirs: socket.socket, progress: ctypes.Array[ctypes.c_longlong]) -> None:
    """A worker's life: answer orders until the main process is gone or kills it."""
    global _progress, _too_slow, _is_worker
    _progress, _is_worker = progress, True
    _leave_signals_to_the_parent()
    for end in list(ours):  # after a fork they are open here too, and no other worker would see the parent's end
        if end.fileno() >= 0:
            socket.close(end.detach())
    torch.set_num_threads(1)
    remarks.take()  # a fork's are its parent's
    orders, answers = theirs.makefile("rb"), theirs.makefile("wb")
    with suppress(EOFError, ConnectionError):
        while True:
            order, _too_slow = pickle.load(orders)
            answer = _answer(views, order), remarks.take()
            _progress[0] = -1
            _end_after(math.inf)
            _Pickler(answers, pickle.HIGHEST_PROTOCOL).dump(answer)
            answers.flush()


def _leave_signals_to_the_parent() -> None:
    """A terminal or a scheduler signals the whole group; the parent finishes its step and needs the workers for it."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _answer(views: Served[Any], order: Order) -> Any:
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
