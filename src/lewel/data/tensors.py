"""The fast executor: the workers decode, crop and resize, then the main process does the colours, on the device.

A CPU takes image after image, so that one stays in its cache; any other device, and a CPU whose cache holds them all,
takes the whole batch, operation by operation, each on the rows that need it. Both by the operations of
`lewel.data.packed`, which have Pillow's results: the two executors differ by the resize alone, by single grey levels
(docs/performance.md has the figures).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor
from torch.nn import functional

from lewel.data import packed
from lewel.data.augment import JITTER, Parameters
from lewel.data.packed import Constants, Pixels

log = logging.getLogger(__name__)

CACHE = 2**20  # bytes of crops that a core has at hand


class Colours(NamedTuple):
    """What is left to do to b crops: the operations in order, those rows of the batch that each is for, and how much.

    steps: (operation, first, last): its rows and amounts are `rows[first:last]` and `amounts[first:last]`.
    boxes: the blur's filters (`packed.box`), for the rows of its step.
    """

    steps: list[tuple[str, int, int]]
    rows: Int[Tensor, " n"]
    amounts: Float[Tensor, " n"]
    boxes: Int32[Tensor, "blurred reach"]


def colours_of(parameters: Sequence[Parameters], largest_sigma: float) -> Colours:
    """The colour operations of a batch, sorted by operation within each place of the order.

    largest_sigma: of the blur, in pixels, over the whole run; it sets the number of taps.
    """
    places: list[tuple[str, list[tuple[int, float]]]] = []
    for place in range(4):
        drawn = [(i, p.jitter[place]) for i, p in enumerate(parameters) if place < len(p.jitter)]
        places += [(name, [(i, strength) for i, (its, strength) in drawn if its == name]) for name in JITTER]
    for name in ("gray", "blur", "solarize"):
        places.append((name, [(i, float(getattr(p, name))) for i, p in enumerate(parameters) if getattr(p, name)]))
    columns = [
        (name, [row for row, _ in those], [strength for _, strength in those]) for name, those in places if those
    ]
    return in_order(columns, largest_sigma)


def in_order(places: Iterable[tuple[str, Sequence[int], Sequence[float]]], largest_sigma: float) -> Colours:
    """From (operation, rows, amounts), in the order to apply, no rows empty."""
    steps, rows, amounts, boxes = [], [], [], []
    for name, its_rows, strengths in places:
        steps.append((name, len(rows), len(rows) + len(its_rows)))
        rows += its_rows
        amounts += [amount(name, strength) for strength in strengths]
        if name == "blur":
            boxes = [packed.box(sigma, largest_sigma) for sigma in strengths]
    return Colours(
        steps,
        torch.tensor(rows, dtype=torch.int64),
        torch.tensor(amounts, dtype=torch.float32),
        torch.from_numpy(np.stack(boxes)) if boxes else torch.empty(0, 1, dtype=torch.int32),
    )


def amount(operation: str, strength: float) -> float:
    """The strength as the operation wants it: hue in whole steps of its circle, towards zero, as Pillow's 8 bits do."""
    return float(int(strength * 255)) if operation == "hue" else strength


def to_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Without waiting for it: a GPU reads pinned memory when its turn comes."""
    host = torch.as_tensor(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


@torch.no_grad()
def apply(crops: Pixels, colours: Colours, compiled: bool = False) -> Pixels:
    """Do to the crops what `colours` says, on their device; they stay as they are.

    compiled: by torch.compile, on a CPU with the same result; it needs a C++ compiler. No GPU has been tried: there a
    quotient may be rounded otherwise, and differ by a level.
    """
    by_image = crops.device.type == "cpu" and crops.nbytes > CACHE
    return (_image_by_image if by_image else _step_by_step)(crops, colours, compiled)


def _image_by_image(pixels: Pixels, colours: Colours, compiled: bool) -> Pixels:
    rows = colours.rows.tolist()
    left: list[list[tuple[str, Tensor]]] = [[] for _ in pixels]
    for name, first, last in colours.steps:
        for row, strength in zip(rows[first:last], _strengths(colours, name, first, last).split(1), strict=True):
            left[row].append((name, strength))
    done = torch.empty_like(pixels)
    for row, operations in enumerate(left):
        image = pixels[row : row + 1]
        for name, strength in operations:
            if name == "blur":  # most need fewer taps than the largest
                strength = strength[:, : int(strength.count_nonzero())]
            image = _operation(name, compiled, False)(image, strength)
        done[row] = image[0]
    return done


def _step_by_step(pixels: Pixels, colours: Colours, compiled: bool) -> Pixels:
    pixels = pixels.clone()
    on_device = Colours(colours.steps, *(to_device(part, pixels.device) for part in colours[1:]))
    for name, first, last in colours.steps:
        rows, strengths = on_device.rows[first:last], _strengths(on_device, name, first, last)
        if len(rows) == 1:  # the same again: torch.compile would make another kernel for a single row
            rows, strengths = rows.repeat(2), torch.cat([strengths, strengths])
        pixels[rows] = _operation(name, compiled, True)(pixels[rows], strengths)
    return pixels


def _strengths(colours: Colours, name: str, first: int, last: int) -> Tensor:
    return colours.boxes if name == "blur" else colours.amounts[first:last].view(-1, 1, 1)


@torch.no_grad()
def normalised(pixels: Pixels, mean: Constants, std: Constants, compiled: bool = False) -> Float[Tensor, "b 3 h w"]:
    """(pixels / 255 - mean) / std, float32, in channels-last memory."""
    return _operation("normalised", compiled, pixels.device.type != "cpu")(pixels, mean, std)


def resized_crop(
    image: UInt8[Tensor, "height width 4"], parameters: Parameters, out: UInt8[Tensor, "side side 4"]
) -> None:
    """Crop, resize (bilinear, antialiased, 8 bits) and mirror into `out`."""
    left, top, width, height = parameters.crop
    # The new axis comes first: with one of another stride torch does not see that the channels are last in memory.
    window = image[None, top : top + height, left : left + width].permute(0, 3, 1, 2)
    side = parameters.output
    resized = functional.interpolate(window, (side, side), mode="bilinear", antialias=True)
    view = packed.from_bytes(resized[0].permute(1, 2, 0).contiguous())
    mirrored = [axis for axis, wanted in ((1, parameters.flip), (0, parameters.vertical_flip)) if wanted]
    packed.from_bytes(out).copy_(view.flip(mirrored) if mirrored else view)


@cache
def _operation(name: str, compiled: bool, any_batch: bool) -> Callable[..., Any]:
    """any_batch: compiled for any number of rows, else for each size that comes, which is faster."""
    operation = packed.normalised if name == "normalised" else packed.OPERATIONS[name]
    if not compiled:
        return operation
    log.info("compiling %s; the first time on a machine takes seconds", name)
    return torch.compile(operation, dynamic=any_batch)
