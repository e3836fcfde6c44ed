"""Batches of images of any size with what is to be found in them, by the workers of pretraining.

A task gives a `Source`, which reads an image with its truth, and a view of that, which may draw random numbers: those
of the n-th image of a training belong to (seed, n), so that a training that goes on sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from lewel import config
from lewel.data.augment import permutation
from lewel.data.decode import DecodeError
from lewel.data.finishing import Normalise
from lewel.data.loader import readable
from lewel.data.serving import Order, reading
from lewel.data.skips import skip_of
from lewel.data.tensors import to_device
from lewel.data.workers import work
from lewel.engine.loop import mapped
from lewel.shapes import Skip


class Example(NamedTuple):
    """One image as the network sees it. target: tensors, or (named) tuples of them; None: nothing is to be learned."""

    pixels: UInt8[Tensor, "3 h w"]
    target: Any


@runtime_checkable
class Source(Protocol):
    """Images with their truth."""

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """A printable name of the image."""
        ...

    def read(self, index: int) -> Any:
        """The image and its truth. Raises DecodeError."""
        ...


View = Callable[[Any, np.random.Generator], Example]  # of what `read` gives


class Packed(NamedTuple):
    """A bool tensor on its way to the device: eight values a byte along the last axis, which is `width` long."""

    bits: UInt8[Tensor, "*rest bytes"]
    width: int

    @classmethod
    def of(cls, values: Bool[Tensor, "*rest width"]) -> Packed:
        return cls(torch.from_numpy(np.packbits(values.numpy(), axis=-1)), values.shape[-1])

    def unpacked(self) -> Bool[Tensor, "*rest width"]:
        """Where the bits are."""
        places = torch.tensor([1 << place for place in range(7, -1, -1)], dtype=torch.uint8, device=self.bits.device)
        return (self.bits[..., None] & places).bool().flatten(-2)[..., : self.width]


class Group(NamedTuple):
    """What a worker sends. Smaller images are filled up with 0 on the right and below; bool targets are `Packed`."""

    pixels: UInt8[Tensor, "b 3 h w"]
    sizes: Int[Tensor, "b 2"]  # height and width of each
    targets: tuple[Any, ...]
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


class Examples(NamedTuple):
    """A batch on the device.

    pixels: normalised, and 0 where an image is filled up.  sizes: height and width of each.
    """

    pixels: Float[Tensor, "b 3 h w"]
    sizes: Int[Tensor, "b 2"]
    targets: tuple[Any, ...]
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


@dataclass(frozen=True)
class Stream(Iterable[Order]):
    """Of each step its images: epoch after epoch without a gap, the order of each belongs to (seed, epoch).

    kinds: (n,) of each image, such as wide or high: a batch has images of one kind, and begins when it has them all.
    Not so where a kind has fewer images than a batch: all of its batches would hold an image twice, and have batch
    norm's statistics of very few images.
    """

    n: int
    batch_size: int
    steps: int
    seed: int
    start_step: int = 0
    kinds: np.ndarray | None = None

    def __iter__(self) -> Iterator[Order]:
        source = self._batches()
        for step in range(self.steps):
            found = next(source)
            if step >= self.start_step:
                yield step, found

    def _batches(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = {}
        kinds = self.kinds
        if kinds is None or np.unique(kinds, return_counts=True)[1].min() < self.batch_size:
            kinds = np.zeros(self.n, np.int64)
        epoch = 0
        while True:
            for index in permutation(self.n, self.seed, epoch).tolist():
                found = waiting.setdefault(int(kinds[index]), [])
                found.append(index)
                if len(found) == self.batch_size:
                    yield found.copy()
                    found.clear()
            epoch += 1


@dataclass(frozen=True)
class Training:
    """From orders to batches; images that cannot be read are replaced."""

    images: Source
    view: View
    batch_size: int
    seed: int

    def __getitem__(self, order: Order) -> Group:
        step, indices = order
        found, seen, skipped = list[Example](), list[int](), list[Skip]()
        for place, index in enumerate(indices):
            number = step * self.batch_size + place
            there, raw = readable(self.images.read, len(self.images), self.seed, step, index, skipped)
            found.append(self.view(raw, np.random.default_rng((self.seed, number))))
            seen.append(there)
        return _group(found, seen, skipped)


@dataclass(frozen=True)
class Testing:
    """From orders to batches; images that cannot be read are left out. The view draws nothing."""

    __test__ = False  # no test of pytest's

    images: Source
    view: View

    def __getitem__(self, order: Order) -> Group:
        found, seen, skipped = list[Example](), list[int](), list[Skip]()
        for index in order[1]:
            try:
                reading(index)
                found.append(self.view(self.images.read(index), np.random.default_rng(0)))
                seen.append(index)
            except DecodeError as error:
                skipped.append(skip_of(error))
        return _group(found, seen, skipped)


def batches(
    views: Training | Testing, orders: Iterable[Order], workers: int, numbers: config.Data, device: torch.device
) -> Generator[Examples]:
    """The batch of each order on the device, its targets too, normalised as `numbers` say; ends its workers itself."""
    normalise = Normalise(numbers.mean, numbers.std, device)
    with closing(work(views, orders, workers, device)) as source:
        for group in source:
            sizes = to_device(group.sizes, device)
            pixels = to_device(group.pixels, device)
            inside = mask(sizes, pixels.shape[2], pixels.shape[3])[:, None]
            sent = mapped(lambda tensor: to_device(tensor, device), group.targets)
            targets = mapped(Packed.unpacked, sent, Packed)
            yield Examples(normalise(pixels) * inside, sizes, targets, group.indices, group.skipped)


def mask(sizes: Int[Tensor, "b 2"], height: int, width: int) -> Tensor:
    """(b, height, width) bool: where the images are, and not what they are filled up with."""
    rows, columns = (torch.arange(side, device=sizes.device) for side in (height, width))
    return (rows[None, :, None] < sizes[:, 0, None, None]) & (columns[None, None] < sizes[:, 1, None, None])


def _group(found: Sequence[Example], seen: list[int], skipped: list[Skip]) -> Group:
    sizes = torch.tensor([each.pixels.shape[1:] for each in found], dtype=torch.int64).reshape(-1, 2)
    height, width = sizes.amax(dim=0).tolist() if found else (0, 0)
    filled = [
        functional.pad(each.pixels, (0, width - each.pixels.shape[2], 0, height - each.pixels.shape[1]))
        for each in found
    ]
    pixels = torch.stack(filled) if filled else torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    targets = tuple(mapped(_packed, each.target) for each in found)
    return Group(pixels, sizes, targets, torch.tensor(seen, dtype=torch.int64), skipped)


def _packed(tensor: Tensor) -> Tensor | Packed:
    return Packed.of(tensor) if tensor.dtype == torch.bool and tensor.dim() else tensor
