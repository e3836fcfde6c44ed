"""The processes that decode and augment: PyTorch's DataLoader, and what it says when they die or hang."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from lewel.data.tensors import Colours
from lewel.errors import UserError
from lewel.shapes import Skip

T = TypeVar("T")
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


def work(
    dataset: Dataset[Drawn], order: Sampler[Order], workers: int, device: torch.device, timeout_s: float
) -> Generator[Drawn]:
    """The data set's answer to each order, in order. workers: 0 does the work here.

    device: where the answers go; memory is pinned for CUDA. timeout_s: longest wait for an answer.
    The workers end with the generator. Raises UserError for workers that died or hung.
    """
    if workers == 0:
        for each in order:
            yield dataset[each]
        return
    stopping = multiprocessing.RawValue(ctypes.c_bool, False)
    others = multiprocessing.active_children()
    iterator = iter(_loader(_Workable(dataset, stopping), order, workers, device, timeout_s))
    children = [child for child in multiprocessing.active_children() if child not in others]
    try:
        while (drawn := _next(iterator)) is not None:
            yield drawn
    finally:
        stopping.value = True
        _shut_down(iterator)
        for child in children:
            if child.is_alive():
                child.kill()


def _shut_down(iterator: object) -> None:
    """Now, and not whenever the last reference goes. How a worker ends no longer matters: some abort under "spawn"."""
    assert isinstance(iterator, _MultiProcessingDataLoaderIter)
    with suppress(RuntimeError):
        iterator._shutdown_workers()


class _Workable(Dataset["Drawn | UserError"]):
    """A data set as the workers run it: gives up when the run is over, and sends a user's error as a value.

    Raised there, the error would arrive with the worker's traceback for a message.
    """

    def __init__(self, dataset: Dataset[Drawn], stopping: ctypes.c_bool) -> None:
        self.dataset, self.stopping = dataset, stopping

    def __getitem__(self, order: Order) -> Drawn | UserError:
        if self.stopping.value:
            return UserError("the run is over")
        try:
            return self.dataset[order]
        except UserError as error:
            return error


def _loader(
    dataset: _Workable, order: Sampler[Order], workers: int, device: torch.device, timeout_s: float
) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,  # a sample of `order` is a whole batch
        sampler=order,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=partial(_leave_signals_to_the_parent, dataset.stopping),
        timeout=timeout_s,  # 0, the default, waits for ever for a worker that hangs
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own: the workers' seeds must not take a number from the run's
    )


def _as_it_is(drawn: T) -> T:
    return drawn


def _leave_signals_to_the_parent(stopping: ctypes.c_bool, worker: int) -> None:
    """A terminal or a scheduler signals the whole group; the parent finishes its step and needs the workers for it.

    Only when the run is over does SIGTERM mean what it says: it comes from the parent then.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if stopping.value else None)


def _next(iterator: Iterator[Drawn | UserError]) -> Drawn | None:
    try:
        drawn = next(iterator, None)
    except RuntimeError as error:
        if (explained := worker_error(error)) is None:
            raise
        raise explained from error
    if isinstance(drawn, UserError):
        raise drawn
    return drawn


def worker_error(error: RuntimeError) -> UserError | None:
    """What a user can do about a data worker that died or hung; None for any other error.

    PyTorch raises the death of a worker from a signal handler: anywhere in the main process, not only in the loader.
    """
    text = " ".join(f"{error} {error.__cause__ or ''}".split())  # the cause may be the one that names the signal
    if text.startswith("DataLoader timed out"):
        return UserError(f"the data workers sent nothing in time ({text}); the disk hangs, or try more --workers")
    if not text.startswith("DataLoader worker (pid"):
        return None
    if "Bus error" in text or "shared memory" in text:
        return UserError(f"/dev/shm is full ({text}); use fewer --workers, or docker's --shm-size")
    return UserError(f"a data worker died ({text}), often for lack of memory; use fewer --workers")
