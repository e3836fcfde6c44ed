"""`lewel bench data`: from image files to two normalised views, on so many threads, without processes beside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lewel import config
from lewel.bench import one_file
from lewel.bench.compare import Contender, Result, interleaved
from lewel.data import resident
from lewel.data.decode import DecodeError
from lewel.data.executor import PILLOW, Executor
from lewel.data.folder import Files
from lewel.data.images import Source, open_images, spread
from lewel.data.loader import TrainViews
from lewel.errors import UserError
from lewel.terminal import say

SIZE = (500, 375)  # the usual JPEG of ImageNet
ENDLESS = 10**9  # steps


def measure(data: config.Data, folder: str | None, count: int, rounds: int) -> list[Result]:
    """Images a second of: the one-file version, Pillow, decoding alone, and with crops, tensors eager and compiled, and
    the same of images that lie in memory as pixels; without what the images do not allow.

    data: the views and their size. folder: images; None makes JPEGs of `SIZE`. count: images of a unit of work.
    """
    with images_of(folder, count) as images:
        return interleaved(_contenders(images, data, count), rounds)


def _contenders(images: Source, data: config.Data, count: int) -> list[Contender]:
    crops = TrainViews(images, data, seed=0, executor="tensor")
    indices = list(range(count))
    every = {"one file: Pillow by torchvision": _one_file(images, data.image_size)} if isinstance(images, Files) else {}
    every |= {
        "pillow": _batches(images, data, count, PILLOW),
        "decode alone, by Pillow": lambda: [images.read(index) for index in indices],
        "decode and crops alone": lambda: crops[0, indices],
        "tensor": _batches(images, data, count, Executor("tensor")),
        "tensor, compiled": _batches(images, data, count, Executor("tensor", compiled=True)),
    }
    with suppress(UserError):
        held = resident.hold(images, data, torch.device("cpu"))
        every |= {
            "resident": _batches(held, data, count, Executor("resident")),
            "resident, compiled": _batches(held, data, count, Executor("resident", compiled=True)),
        }
    return [Contender(name, work, count) for name, work in every.items()]


def _batches(images: Source | resident.Resident, data: config.Data, count: int, executor: Executor):
    source = resident.from_anywhere(images, data, count, 0, 0, ENDLESS, executor=executor)
    return lambda: next(source)


def _one_file(images: Files, size: int):
    views = one_file.TwoViews(images, size)

    def work() -> list[Tensor]:
        pairs = [views[index] for index in range(len(views))]
        return [torch.stack(view).contiguous(memory_format=torch.channels_last) for view in zip(*pairs, strict=True)]

    return work


@contextmanager
def images_of(folder: str | None, count: int) -> Iterator[Source]:
    """So many of the folder's readable images, evenly; of no folder: photographs that are made.

    Says how many unreadable ones it met. Raises UserError for too few.
    """
    with folder_of(folder, count) as found:
        images = open_images(found)
        chosen, unreadable = _readable(images, count)
        if len(chosen) < count:
            beside = f" and {len(unreadable)} that cannot be read" if unreadable else ""
            raise UserError(f"--images {count}: {folder} has {len(chosen)}{beside}; give fewer")
        if unreadable:
            say(f"{len(unreadable)} images cannot be read and are left out, the last is {unreadable[-1]}")
        yield images.subset(chosen)


def _readable(images: Source, count: int) -> tuple[np.ndarray, list[DecodeError]]:
    """Indices of at most so many, evenly over all but the unreadable ones that were met; and these."""
    left, known, errors = np.arange(len(images)), set[int](), list[DecodeError]()
    while True:
        chosen = left[spread(len(left), count)]
        bad: list[int] = []
        for index in chosen.tolist():
            if index in known:
                continue
            try:
                images.read(index)
                known.add(index)
            except DecodeError as error:
                bad.append(index)
                errors.append(error)
        if not bad:
            return chosen, errors
        left = np.setdiff1d(left, bad)


@contextmanager
def folder_of(folder: str | None, count: int) -> Iterator[str]:
    """The folder itself, or one with so many photographs that are made, until the end."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        for number in range(count):
            _photograph(number).save(Path(made) / f"{number}.jpg", quality=92)
        yield made


def _photograph(seed: int) -> Image.Image:
    """Noise at every scale, as photographs have it: the JPEG has a photograph's size, about 2 bits a pixel."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    total = np.full((height, width, 3), 128.0)
    for scale in (2, 4, 8, 16, 32, 64):
        coarse = rng.normal(0, 3 * scale**0.5, (3, height // scale + 2, width // scale + 2)).astype(np.float32)
        layers = [Image.fromarray(layer).resize(SIZE, Image.Resampling.BICUBIC) for layer in coarse]
        total += np.stack([np.asarray(layer) for layer in layers], axis=-1)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))
