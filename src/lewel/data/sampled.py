"""Whether the images of a data set can be read, from a sample: what a dry run finds before hours of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from lewel.data.decode import DecodeError
from lewel.data.images import Images, fetched, spread
from lewel.data.loader import as_drawn
from lewel.data.serving import Drawn, Order, Views, reading
from lewel.data.skips import first_skips, too_many
from lewel.data.workers import work
from lewel.shapes import Skip
from lewel.terminal import printable

MOST = 500  # images of each part
_TOGETHER = 16  # that a worker is given at a time


class Sample(NamedTuple):
    """How many of how many images were decoded, and those that could not be."""

    decoded: int
    total: int
    unreadable: list[Skip]

    def told(self) -> str:
        what = (
            f"all {self.total:,} images" if self.decoded == self.total else f"{self.decoded:,} of {self.total:,} images"
        )
        if not self.unreadable:
            return f"decoded {what}: all can be read"
        share = 100 * len(self.unreadable) / self.decoded
        return (
            f"decoded {what}: {len(self.unreadable):,} ({share:.1f} %) cannot be read: {first_skips(self.unreadable)}"
        )

    def problem(self, most: float) -> str:
        """Why a run would end, where more than this share cannot be read; empty otherwise."""
        if len(self.unreadable) <= most * self.decoded:
            return ""
        of = "images" if self.decoded == self.total else f"images, a sample of {self.total:,},"
        return too_many(self.unreadable, self.decoded, most, of)


def sample(parts: Sequence[Images], workers: int, most: int = MOST) -> Sample:
    """Decode at most so many images of each part, evenly over it."""
    decoded, unreadable = 0, list[Skip]()
    for images in parts:
        chosen = spread(len(images), most).tolist()
        orders: Iterator[Order] = ((0, chosen[i : i + _TOGETHER]) for i in range(0, len(chosen), _TOGETHER))
        for found in work(_Read(images), orders, workers, torch.device("cpu")):
            unreadable += found.skipped
        decoded += len(chosen)
    return Sample(decoded, sum(map(len, parts)), unreadable)


@dataclass
class _Read(Views):
    """Images that are decoded, and not looked at."""

    images: Images

    def __getitem__(self, order: Order) -> Drawn:
        seen, skipped, images = list[int](), list[Skip](), fetched(self.images, order[1])
        for index in order[1]:
            try:
                reading(index)
                images.read(index)
                seen.append(index)
            except DecodeError as error:
                skipped.append(Skip(printable(error.path), error.reason))
        return as_drawn(np.empty((1, 0, 1, 1, 3), np.uint8), seen, skipped)
