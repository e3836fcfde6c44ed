"""The order of an evaluation's training images: whole epochs, the last batch of each smaller; or classes equally often.

Each order carries its step in the place of the epoch, since an image that comes twice in an epoch must not be cropped
the same way twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lewel.data.augment import ORDER, permutation, uniforms
from lewel.data.serving import Order


@dataclass(frozen=True)
class Epochs(Iterable[Order]):
    """The steps from `start_step` to the end; the epoch's order belongs to (seed, epoch).

    multiple: the last batch of an epoch is filled up to a multiple of it with the epoch's first images, as by the
    samplers of as many processes.
    least: of images in the last batch, filled up likewise; at most batch_size.
    classes: (n,) int64; each class is drawn equally often on average, n images an epoch, with replacement.
    """

    n: int
    batch_size: int
    epochs: int
    seed: int
    start_step: int = 0
    multiple: int = 1
    least: int = 1
    classes: np.ndarray | None = None

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.n / self.batch_size)  # batch_size is a multiple of `multiple`

    def __iter__(self) -> Iterator[Order]:
        known, order = -1, np.empty(0, np.int64)
        for step in range(self.start_step, self.epochs * self.steps_per_epoch):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, np.resize(self._epoch(epoch), self._filled())
            first = position * self.batch_size
            yield step, order[first : first + self.batch_size].tolist()

    def _filled(self) -> int:
        """Images in an epoch, those that fill its last batch included."""
        whole = (self.steps_per_epoch - 1) * self.batch_size
        return whole + max(math.ceil((self.n - whole) / self.multiple) * self.multiple, self.least)

    def _epoch(self, epoch: int) -> np.ndarray:
        if self.classes is None:
            return permutation(self.n, self.seed, epoch)
        counts = np.bincount(self.classes)[self.classes]
        ends = np.cumsum(1 / counts)
        return np.searchsorted(ends, uniforms(self.n, ORDER, self.seed, epoch, 0) * ends[-1], side="right")
