"""`lewel.data.augment.sample` for a whole batch at once, of images of one size: the same parameters, bit for bit.

Where no worker draws, the main process does, and it must not keep a GPU waiting. Everything is an array over the batch;
the formulas and their order are those of `augment`, which says what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lewel.config import View
from lewel.data import tensors
from lewel.data.augment import CROP_TRIES, JITTER, VIEW, central_crop, jitter_range

_MASK = 2**32 - 1
_ROUNDS = 10
_FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


class _Where(NamedTuple):
    """What the numbers are a function of."""

    seed: int
    epoch: int
    indices: np.ndarray
    view_number: int


class Draws(NamedTuple):
    """The parameters of one view of b images.

    jitter: the names of the operations. order: by place, numbers of these operations. strengths: by operation.
    jittered: whether they are applied at all. blur: sigma, 0 for none.
    """

    crops: Int[np.ndarray, "b 4"]
    flip: Bool[np.ndarray, " b"]
    vertical_flip: Bool[np.ndarray, " b"]
    jitter: tuple[str, ...]
    order: Int[np.ndarray, "b operations"]
    strengths: Float[np.ndarray, "b operations"]
    jittered: Bool[np.ndarray, " b"]
    gray: Bool[np.ndarray, " b"]
    blur: Float[np.ndarray, " b"]
    solarize: Bool[np.ndarray, " b"]

    def geometry(self, size: tuple[int, int]) -> Int[np.ndarray, "b 8"]:
        """As `shapes.View` has it."""
        sizes = np.broadcast_to(np.array(size), (len(self.crops), 2))
        flips = np.stack([self.flip, self.vertical_flip], axis=1)
        return np.concatenate([self.crops, sizes, flips], axis=1).astype(np.int32)

    def colours(self, largest_sigma: float) -> tensors.Colours:
        """As `tensors.colours_of`."""
        places = []
        for place in range(len(self.jitter)):
            for number, name in enumerate(self.jitter):
                places.append((name, self.jittered & (self.order[:, place] == number), self.strengths[:, number]))
        for name in ("gray", "blur", "solarize"):
            amounts = getattr(self, name)
            places.append((name, amounts > 0, amounts))
        chosen = [(name, np.flatnonzero(which), amounts[which]) for name, which, amounts in places if which.any()]
        return tensors.in_order(
            [(name, rows.tolist(), amounts.tolist()) for name, rows, amounts in chosen], largest_sigma
        )


def draw(view: View, size: tuple[int, int], seed: int, epoch: int, indices: Sequence[int], view_number: int) -> Draws:
    """The parameters of the view `view_number` of the images `indices`, all `size` = (width, height) pixels large.

    Rotations are not drawn.
    """
    where = _Where(seed, epoch, np.asarray(indices, np.uint64), view_number)
    u = uniforms(range(5), where)
    low, high = view.blur_sigma
    active = [number for number, strength in enumerate(view.jitter) if strength > 0]
    names = tuple(JITTER[number] for number in active)
    ranges = [jitter_range(JITTER[number], view.jitter[number]) for number in active]
    lowest, highest = np.array(ranges).reshape(-1, 2).T
    return Draws(
        crops=_crops(view, size, u[:, 16:], where),
        flip=u[:, 0] < view.flip,
        vertical_flip=u[:, 1] < view.vertical_flip,
        jitter=names,
        order=np.argsort(u[:, 12:16][:, active], axis=1, kind="stable"),
        strengths=lowest + (highest - lowest) * u[:, 8:12][:, active],
        jittered=u[:, 7] < view.jitter_probability,
        gray=u[:, 3] < view.gray,
        blur=np.where(u[:, 4] < view.blur, low + (high - low) * u[:, 5], 0.0),
        solarize=u[:, 6] < view.solarize,
    )


def _crops(view: View, size: tuple[int, int], first: Float[np.ndarray, "b 4"], where: _Where) -> Int[np.ndarray, "b 4"]:
    """The first try that fits; the later ones are drawn for those alone that need them."""
    crops, fits = _tried(view, size, first)
    if (again := np.flatnonzero(~fits)).size:
        u = uniforms(range(5, 4 + CROP_TRIES), where._replace(indices=where.indices[again]))
        tried, fits = _tried(view, size, u.reshape(len(again), -1, 4))
        found = np.take_along_axis(tried, fits.argmax(axis=1)[:, None, None], axis=1)[:, 0]
        crops[again] = np.where(fits.any(axis=1, keepdims=True), found, central_crop(size, view.ratio))
    return crops


def _tried(
    view: View, size: tuple[int, int], u: Float[np.ndarray, "*tries 4"]
) -> tuple[Int[np.ndarray, "*tries 4"], Bool[np.ndarray, "*tries"]]:
    """Crops, and which of them fit. The exponential is Python's, since NumPy's may differ in the last bit."""
    log_low, log_high = math.log(view.ratio[0]), math.log(view.ratio[1])
    for_area, for_aspect, for_top, for_left = np.moveaxis(u, -1, 0)
    area = size[0] * size[1] * (view.scale[0] + (view.scale[1] - view.scale[0]) * for_area)
    logs = log_low + (log_high - log_low) * for_aspect
    aspect = np.fromiter(map(math.exp, logs.ravel().tolist()), np.float64, logs.size).reshape(logs.shape)
    width, height = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    left, top = (size[0] - width + 1) * for_left, (size[1] - height + 1) * for_top
    fits = (width > 0) & (width <= size[0]) & (height > 0) & (height <= size[1])
    return np.stack([left, top, width, height], axis=-1).astype(np.int64), fits


def uniforms(blocks: range, where: _Where) -> Float[np.ndarray, "b draws"]:
    """Blocks of four of the numbers that `augment.uniforms` draws for a view of each of the b images.

    Philox4x64-10 (Salmon et al. 2011). A block is a function of its own counter, so that none before it is needed.
    """
    shape = (len(where.indices), len(blocks))
    start = np.broadcast_to(np.asarray(blocks, np.uint64) + np.uint64(1), shape)
    index = np.broadcast_to(where.indices[:, None], shape)
    counter = [start, np.uint64(where.view_number), index, np.uint64(where.epoch)]
    key = [where.seed % 2**64, VIEW]
    for _ in range(_ROUNDS):
        (high, low), (other_high, other_low) = (_product(f, c) for f, c in zip(_FACTORS, counter[::2], strict=True))
        counter = [other_high ^ counter[1] ^ np.uint64(key[0]), other_low, high ^ counter[3] ^ np.uint64(key[1]), low]
        key = [(part + step) % 2**64 for part, step in zip(key, _STEPS, strict=True)]
    bits = np.stack(counter, axis=-1).reshape(len(where.indices), -1)
    return (bits >> np.uint64(11)) * 2.0**-53


def _product(factor: int, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower 64 bits of factor * words, by products of 32 bits."""
    half, mask = np.uint64(32), np.uint64(_MASK)
    high, low = np.uint64(factor >> 32), np.uint64(factor & _MASK)
    word_high, word_low = words >> half, words & mask
    middle = high * word_low + (low * word_low >> half)
    other = low * word_high + (middle & mask)
    return high * word_high + (middle >> half) + (other >> half), np.uint64(factor) * words
