"""Batches of views, in an order that depends on the seed and the step alone.

The data of a run is one endless sequence of steps. Step s of an epoch holds positions s * b .. (s + 1) * b - 1 of the
epoch's permutation, and rank r takes the r-th of equal slices. So the loader's state is one integer, starting at any
step costs nothing, workers live as long as the run, and any number of workers or ranks sees the same data. Eight bits a
channel travel; the main process normalises, and with the fast executor it does the colours too, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from lewel import config
from lewel.data import pillow, tensors
from lewel.data.augment import REPLACEMENT, Parameters, permutation, sample, uniforms
from lewel.data.decode import DecodeError, printable
from lewel.data.executor import PILLOW, Executor
from lewel.data.finishing import finished
from lewel.data.images import Images, fetched
from lewel.data.serving import Drawn, Order, Views, reading
from lewel.data.skips import skip_of
from lewel.data.tensors import Colours
from lewel.data.workers import TIMEOUT_S, work
from lewel.errors import UserError
from lewel.shapes import Batch, Skip

T = TypeVar("T")
REPLACEMENT_TRIES = 20


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in n images; the rest of an epoch, another one each time, is dropped. Raises UserError for none."""
    if not 1 <= batch_size <= n:
        raise UserError(f"--batch-size {batch_size} for {n} images: allowed is 1 to {n}")
    return n // batch_size


def batches(
    images: Images,
    data: config.Data,
    batch_size: int,
    seed: int,
    start_step: int,
    total_steps: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    device: torch.device | str = "cpu",
    timeout_s: float = TIMEOUT_S,
    executor: Executor = PILLOW,
    geometry: bool = False,
) -> Iterator[Batch]:
    """The batches of steps start_step .. total_steps - 1, for one of `world` processes.

    batch_size: images a step over all processes. workers: processes that decode and augment; 0 does it here.
    device: where the views are normalised. timeout_s: a worker that begins no image for so long is stuck.
    executor: what makes the views; crops differ by single grey levels, the rest is the same bit for bit.
    geometry: the views carry theirs.
    An image that cannot be decoded is replaced by another one, drawn by (seed, epoch, image), and named in `skipped`;
    `indices` are those of the images that are seen. Pixels are float32 in channels-last memory.
    Raises UserError for a batch that is larger than the data or that the processes do not divide, when workers
    fail again and again, and for data in which nearly nothing can be read.
    """
    order = train_order(len(images), batch_size, seed, start_step, total_steps, rank, world)
    views = TrainViews(images, data, seed, executor.name, geometry)
    return in_order(views, order, workers, data.mean, data.std, device, timeout_s, executor.compiled)


def evaluation_batches(
    images: Images,
    size: int,
    batch_size: int,
    workers: int = 0,
    mean: config.ImageStats = config.IMAGENET_MEAN,
    std: config.ImageStats = config.IMAGENET_STD,
    device: torch.device | str = "cpu",
    timeout_s: float = TIMEOUT_S,
) -> Generator[Batch]:
    """All images once, in order, each as one central view (`pillow.resized_center`); the last batch may be smaller.

    An image that cannot be decoded is left out of its batch and named in `skipped`: `indices` says which are there.
    """
    order = EvaluationOrder(len(images), batch_size)
    return in_order(CentralViews(images, size), order, workers, mean, std, device, timeout_s)


def in_order(
    views: Views,
    orders: Iterable[Order],
    workers: int,
    mean: config.ImageStats,
    std: config.ImageStats,
    device: torch.device | str = "cpu",
    timeout_s: float = TIMEOUT_S,
    compiled: bool = False,
) -> Generator[Batch]:
    """What the views make of each order, normalised, on the device: what all the others here are made of."""
    drawn = work(views, orders, workers, torch.device(device), timeout_s)
    return finished(drawn, mean, std, torch.device(device), compiled)


# -- which images: in the main process


def train_order(
    n: int, batch_size: int, seed: int, start_step: int, total_steps: int, rank: int, world: int
) -> TrainOrder:
    """Raises UserError for a batch that is larger than the data or that the processes do not divide."""
    steps_per_epoch(n, batch_size)
    if batch_size % world:
        raise UserError(f"--batch-size {batch_size} is not a multiple of the {world} processes")
    return TrainOrder(n, batch_size, seed, start_step, total_steps, rank, world)


@dataclass(frozen=True)
class TrainOrder(Iterable[Order]):
    """For each step the epoch and this rank's images."""

    n: int
    batch_size: int
    seed: int
    start_step: int
    total_steps: int
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[Order]:
        per_epoch = self.n // self.batch_size
        mine = self.batch_size // self.world
        known, order = -1, np.empty(0, np.int64)
        for step in range(self.start_step, self.total_steps):
            epoch, position = divmod(step, per_epoch)
            if epoch != known:
                known, order = epoch, permutation(self.n, self.seed, epoch)
            first = position * self.batch_size + self.rank * mine
            yield epoch, order[first : first + mine].tolist()


@dataclass(frozen=True)
class EvaluationOrder(Iterable[Order]):
    """All images in their own order."""

    n: int
    batch_size: int

    def __iter__(self) -> Iterator[Order]:
        for first in range(0, self.n, self.batch_size):
            yield 0, list(range(first, min(first + self.batch_size, self.n)))


def readable(read: Callable[[int], T], n: int, seed: int, epoch: int, index: int, skipped: list[Skip]) -> tuple[int, T]:
    """The image that is seen for `index`, and what reading it gives: itself, or the first readable replacement.

    The replacements belong to (seed, epoch, index). What cannot be read is added to `skipped`.
    Raises UserError where none of them can be read.
    """
    for candidate in _candidates(n, seed, epoch, index):
        try:
            reading(candidate)
            return candidate, read(candidate)
        except DecodeError as error:
            skipped.append(skip_of(error))
    last = f"{printable(skipped[-1].path)}: {skipped[-1].reason}"
    raise UserError(f"{len(skipped)} images in a row cannot be read, the last is {last}; check --data")


def _candidates(n: int, seed: int, epoch: int, index: int) -> Iterator[int]:
    """The image itself, then its replacements, which are drawn only when one is asked for."""
    yield index
    yield from (uniforms(REPLACEMENT_TRIES, REPLACEMENT, seed, epoch, index) * n).astype(int).tolist()


# -- decode and augment: in the workers


@dataclass
class TrainViews(Views):
    """From an epoch and images to their augmented views."""

    images: Images
    data: config.Data
    seed: int
    executor: str = "pillow"
    geometry: bool = False

    def __getitem__(self, order: Order) -> Drawn:
        epoch, indices = order
        side, views = self.data.image_size, self.data.views
        pixels = np.empty((len(views), len(indices), side, side, 3 if self.executor == "pillow" else 4), np.uint8)
        geometry = np.empty((len(views), len(indices), 8), np.int32) if self.geometry else None
        parameters: list[list[Parameters]] = [[] for _ in views]
        seen, skipped, images = [], [], fetched(self.images, indices)
        read = images.read if self.executor == "pillow" else images.rgbx
        for row, index in enumerate(indices):
            found, image = readable(read, len(images), self.seed, epoch, index, skipped)
            seen.append(found)
            size = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
            drawn = [sample(view, size, side, self.seed, epoch, index, i) for i, view in enumerate(views)]
            self._draw(image, drawn, pixels[:, row])
            for number, each in enumerate(drawn):
                if geometry is not None:
                    geometry[number, row] = each.geometry()
                parameters[number].append(each)
        return as_drawn(pixels, seen, skipped, self._left(parameters), geometry)

    def _draw(self, image: Image.Image | np.ndarray, drawn: list[Parameters], out: np.ndarray) -> None:
        """The views of an image, whole or but for their colours, into `out`, (v, h, w, c)."""
        for number, each in enumerate(drawn):
            if isinstance(image, Image.Image):
                out[number] = np.asarray(pillow.augmented(image, each))
            else:
                source = _rotated(image, each.rotation)
                tensors.resized_crop(torch.from_numpy(source), each, torch.from_numpy(out[number]))

    def _left(self, parameters: list[list[Parameters]]) -> tuple[Colours, ...]:
        """What the main process has left to do to each view."""
        if self.executor == "pillow":
            return ()
        return tuple(tensors.colours_of(of_a_view, self.data.largest_sigma) for of_a_view in parameters)


@dataclass
class CentralViews(Views):
    """From images to their central view, or the whole of each as a square; unreadable ones are missing."""

    images: Images
    size: int
    whole: bool = False

    def __getitem__(self, order: Order) -> Drawn:
        pictures, seen, skipped, images = [], [], [], fetched(self.images, order[1])
        for index in order[1]:
            try:
                reading(index)
                pictures.append(np.asarray(self._view(images.read(index))))
                seen.append(index)
            except DecodeError as error:
                skipped.append(skip_of(error))
        pixels = np.stack(pictures)[None] if pictures else np.empty((1, 0, self.size, self.size, 3), np.uint8)
        return as_drawn(pixels, seen, skipped)

    def _view(self, image: Image.Image) -> Image.Image:
        if self.whole:
            return image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return pillow.resized_center(image, self.size)


def _rotated(pixels: UInt8[np.ndarray, "h w 4"], degrees: float) -> UInt8[np.ndarray, "h w 4"]:
    if degrees == 0:
        return pixels
    image = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)
    return np.array(pillow.rotated(image, degrees))


def as_drawn(
    pixels: np.ndarray,
    seen: list[int],
    skipped: list[Skip],
    colours: tuple[Colours, ...] = (),
    geometry: np.ndarray | None = None,
) -> Drawn:
    """What `Views` answer, from arrays; see `Drawn`."""
    return Drawn(
        torch.from_numpy(pixels),
        colours,
        None if geometry is None else torch.from_numpy(geometry),
        torch.tensor(seen, dtype=torch.int64),
        skipped,
    )
