"""Batches of views from images that live on the device: no decoding after the start, no workers, no pixels to send.

The order, the parameters and the replacements of unreadable images are the loader's (`lewel.data.loader`), and so is
the state: one integer. The main process draws a batch's parameters at once, as arrays; nothing in the way of a batch
waits for the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lewel import config
from lewel.console import Console, count_bar
from lewel.data import crops, loader, remarks, tensors
from lewel.data.decode import DecodeError, printable
from lewel.data.draws import Draws, draw
from lewel.data.executor import PILLOW, Executor
from lewel.data.finishing import Normalise
from lewel.data.images import Images, Pixels, fetched
from lewel.data.loader import TrainOrder, readable, train_order
from lewel.data.skips import skip_of
from lewel.data.tensors import to_device
from lewel.errors import UserError
from lewel.shapes import Batch, Skip, View

CHUNK = 1024  # images that are decoded before they go to the device
AUTO_LIMIT = 2 * 10**9  # bytes; a GPU that trains has them to spare
OTHERWISE = "use --executor pillow or tensor"


@dataclass(frozen=True)
class Resident:
    """The images of a data set, all of one size.

    columns: their pixels, column by column, for `crops.resized`. unreadable: those that have none, and why, by index.
    """

    columns: UInt8[Tensor, "n w 3 h"]
    unreadable: dict[int, Skip]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.columns.shape[1], self.columns.shape[3]

    def check(self, index: int) -> None:
        """Raises the DecodeError of an image that could not be read."""
        if index in self.unreadable:
            raise DecodeError(*self.unreadable[index])


def hold(
    images: Images,
    data: config.Data,
    device: torch.device,
    limit: float = float("inf"),
    console: Console | None = None,
) -> Resident:
    """Decode all images and put them on the device, with a progress bar on `console`.

    limit: of their bytes. Raises UserError for images of several sizes, more of them than fit, none that is readable,
    and for rotated views: they would need Pillow's rotation of every image before its crop.
    """
    if rotated := [view.rotation for view in data.views if view.rotation]:
        raise UserError(f"--executor resident cannot rotate (the recipe: {rotated[0]:g} degrees); {OTHERWISE}")
    width, height = _first_size(images)
    n = len(images)
    _check_room(n, width, height, device, limit)
    columns = torch.zeros((n, width, 3, height), dtype=torch.uint8, device=device)
    unreadable: dict[int, Skip] = {}
    with count_bar(console or Console(quiet=True), transient=True) as progress:
        task = progress.add_task(f"images to {device.type}", total=n)
        for first, pixels in _chunks(images, (width, height), unreadable):
            columns[first : first + len(pixels)] = torch.from_numpy(pixels).permute(0, 2, 3, 1).to(device)
            progress.update(task, advance=len(pixels))
    remarks.tell()
    return Resident(columns, dict(sorted(unreadable.items())))  # threads found them in any order


def _first_size(images: Images) -> tuple[int, int]:
    last = ""
    for index in range(len(images)):
        try:
            return images.read(index).size
        except DecodeError as error:
            last = str(error)
    raise UserError(f"none of the {len(images)} images can be read, the last is {last}; check --data")


def _check_room(n: int, width: int, height: int, device: torch.device, limit: float) -> None:
    needed = n * width * height * 3
    free = min(limit, _free_bytes(device))
    if needed > free:
        raise UserError(
            f"--executor resident: {n} images of {width} x {height} pixels take {needed / 1e9:.1f} GB, "
            f"{device.type} has room for {free / 1e9:.1f}; {OTHERWISE}"
        )


def _free_bytes(device: torch.device) -> float:
    """Without a limit where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable")), float("inf"))


def _chunks(
    images: Images, size: tuple[int, int], unreadable: dict[int, Skip]
) -> Iterator[tuple[int, UInt8[np.ndarray, "chunk h w 3"]]]:
    """The index of the first image, and the pixels."""
    starts = range(0, len(images), CHUNK)
    if isinstance(images, Pixels):
        yield from ((first, images.pixels[first : first + CHUNK]) for first in starts)
        return

    def read(here: Images, index: int) -> np.ndarray:
        try:
            image = here.read(index)
        except DecodeError as error:
            unreadable[index] = skip_of(error)
            return np.zeros((size[1], size[0], 3), np.uint8)
        return np.asarray(image) if image.size == size else _refuse(images, index, image.size, size)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for first in starts:
            chunk = range(first, min(first + CHUNK, len(images)))
            yield first, np.stack(list(pool.map(partial(read, fetched(images, chunk)), chunk)))


def _refuse(images: Images, index: int, size: tuple[int, int], expected: tuple[int, int]) -> NoReturn:
    this = f"{printable(images.path(index))} has {size[0]} x {size[1]} pixels"
    raise UserError(
        f"--executor resident needs images of one size: {this}, "
        f"the first one {expected[0]} x {expected[1]}; {OTHERWISE}"
    )


def from_anywhere(
    images: Images | Resident,
    data: config.Data,
    batch_size: int,
    seed: int,
    start_step: int,
    total_steps: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    device: torch.device | str = "cpu",
    executor: Executor = PILLOW,
    geometry: bool = False,
) -> Iterator[Batch]:
    """`loader.batches`, whose words are explained there; of images that are held without workers, on their device.

    executor: for images that are held only whether it is compiled counts: crops and colours, with the same result.
    Raises UserError for a batch that is larger than the data or that the processes do not divide.
    """
    which = (batch_size, seed, start_step, total_steps, rank, world)
    if isinstance(images, Resident):
        return _batches(images, data, train_order(len(images.columns), *which), executor.compiled, geometry)
    return loader.batches(images, data, *which, workers, device, executor=executor, geometry=geometry)


def _batches(held: Resident, data: config.Data, order: TrainOrder, compiled: bool, geometry: bool) -> Iterator[Batch]:
    device = held.columns.device
    constants = Normalise(data.mean, data.std, device)
    filters = crops.filters(max(held.size), data.image_size, device)
    for epoch, indices in order:
        skipped: list[Skip] = []
        seen = [
            readable(held.check, order.n, order.seed, epoch, index, skipped)[0] if index in held.unreadable else index
            for index in indices
        ]
        views = []
        for number, view in enumerate(data.views):
            drawn = draw(view, held.size, order.seed, epoch, indices, number)
            cropped = to_device(_cropped(drawn, seen, filters), device)
            cut = crops.operation(compiled)(held.columns, cropped, filters)
            coloured = tensors.apply(cut, drawn.colours(data.largest_sigma), compiled)
            pixels = tensors.normalised(coloured, constants.mean, constants.std, compiled)
            views.append(View(pixels, to_device(drawn.geometry(held.size), device) if geometry else None))
        yield Batch(tuple(views), torch.tensor(seen), skipped)


def _cropped(drawn: Draws, seen: list[int], filters: crops.Filters) -> np.ndarray:
    left, top, width, height = drawn.crops.T
    across, down = filters.rows(width, drawn.flip), filters.rows(height, drawn.vertical_flip)
    return np.stack([np.array(seen), left, across, top, down], axis=1)
