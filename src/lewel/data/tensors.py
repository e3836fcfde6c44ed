"""The fast executor: a batch of 8-bit crops on any device, operation by operation as Pillow does it.

The workers decode, crop and resize (`resized_crop`); what is left of a view is done here on the whole batch, on the
device. Values are rounded to 8 bits after each operation, as Pillow's are, so that the two executors differ by single
grey levels (docs/performance.md has the figures). Each operation runs on those rows of the batch that need it, in
the order that was drawn for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from lewel.data.augment import Parameters
from lewel.data.pillow import SOLARIZE_THRESHOLD

Pixels = UInt8[Tensor, "b 3 h w"]
PASSES = 3  # Pillow's Gaussian is so many box filters, one after the other


class Colours(NamedTuple):
    """What is left to do to b crops: the operations in order, those rows of the batch that each is for, and how much.

    steps: (operation, first, last): its rows and amounts are `rows[first:last]` and `amounts[first:last]`.
    boxes: the blur's box filters (`box`), for the rows of its step.
    """

    steps: list[tuple[str, int, int]]
    rows: Int[Tensor, " n"]
    amounts: Float[Tensor, " n"]
    boxes: Float[Tensor, "blurred 2 reach"]


def colours_of(parameters: Sequence[Parameters], largest_sigma: float) -> Colours:
    """The colour operations of a batch, sorted by operation within each place of the order.

    largest_sigma: of the blur, in pixels, over the whole run; it sets the number of taps.
    """
    places: list[tuple[str, list[tuple[int, float]]]] = []
    for place in range(4):
        drawn = [(i, p.jitter[place]) for i, p in enumerate(parameters) if place < len(p.jitter)]
        places += [(name, [(i, amount) for i, (its, amount) in drawn if its == name]) for name in JITTER]
    for name in ("gray", "blur", "solarize"):
        places.append((name, [(i, float(getattr(p, name))) for i, p in enumerate(parameters) if getattr(p, name)]))
    columns = [(name, [row for row, _ in those], [amount for _, amount in those]) for name, those in places if those]
    return in_order(columns, largest_sigma)


def in_order(places: Iterable[tuple[str, Sequence[int], Sequence[float]]], largest_sigma: float) -> Colours:
    """From (operation, rows, amounts), in the order to apply, no rows empty."""
    steps, rows, amounts, boxes = [], [], [], []
    for name, its_rows, its_amounts in places:
        if len(its_rows) == 1:  # the same again: torch.compile would make another kernel for a single row
            its_rows, its_amounts = [*its_rows] * 2, [*its_amounts] * 2
        steps.append((name, len(rows), len(rows) + len(its_rows)))
        rows += its_rows
        amounts += its_amounts
        if name == "blur":
            boxes = [box(sigma, largest_sigma) for sigma in its_amounts]
    return Colours(
        steps,
        torch.tensor(rows, dtype=torch.int64),
        torch.tensor(amounts, dtype=torch.float32),
        torch.from_numpy(np.stack(boxes)) if boxes else torch.empty(0, 2, 1),
    )


def apply(crops: UInt8[Tensor, "b h w 3"], colours: Colours, compiled: bool = False) -> Pixels:
    """Do to the crops what `colours` says, in new memory, on their device.

    compiled: by torch.compile, one kernel an operation for every number of rows; it needs a C++ compiler on a CPU.
    """
    pixels = crops.permute(0, 3, 1, 2).contiguous()
    rows, amounts, boxes = (part.to(crops.device, non_blocking=True) for part in colours[1:])
    for name, first, last in colours.steps:
        chosen = rows[first:last]
        amount = boxes if name == "blur" else amounts[first:last].view(-1, 1, 1, 1)
        pixels[chosen] = _operation(name, compiled)(pixels[chosen], amount)
    return pixels


def resized_crop(
    image: UInt8[Tensor, "height width 3"], parameters: Parameters, out: UInt8[Tensor, "side side 3"]
) -> None:
    """Crop, resize (bilinear, antialiased, 8 bits) and mirror into `out`."""
    left, top, width, height = parameters.crop
    window = image[top : top + height, left : left + width]
    crop = window.contiguous().permute(2, 0, 1)[None]  # the copy makes the resize a third faster
    side = parameters.output
    view = functional.interpolate(crop, (side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    mirrored = [axis for axis, wanted in ((1, parameters.flip), (0, parameters.vertical_flip)) if wanted]
    out.copy_(view.flip(mirrored) if mirrored else view)


# -- the operations: 8 bits in, 8 bits out; amount (b, 1, 1, 1)


def brightness(pixels: Pixels, factor: Tensor) -> Pixels:
    return _blend(torch.zeros((), device=pixels.device), pixels.float(), factor)


def contrast(pixels: Pixels, factor: Tensor) -> Pixels:
    values = pixels.float()
    mean = (_luma(values).mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor()
    return _blend(mean, values, factor)


def saturation(pixels: Pixels, factor: Tensor) -> Pixels:
    values = pixels.float()
    return _blend(_luma(values), values, factor)


def hue(pixels: Pixels, shift: Tensor) -> Pixels:
    """Through Pillow's 8-bit HSV: hue and saturation are cut to 8 bits, then back, rounded.

    Double precision where Pillow has it: the cut falls on whole numbers so often that two values in a thousand would
    differ otherwise.
    """
    exact = _exact(pixels)
    red, green, blue = pixels.float().unbind(1)
    most, least = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = most - least
    span = chroma.clamp(min=1)
    far_red, far_green, far_blue = ((most - value) / span for value in (red, green, blue))
    sixth = torch.where(
        red == most,
        far_blue - far_green,
        torch.where(
            green == most,
            (far_red.to(exact) - far_blue + 2).float(),
            (far_green.to(exact) - far_red + 4).float(),
        ),
    )
    turn = torch.where(sixth < 0, sixth.to(exact) / 6 + 1, sixth.to(exact) / 6).float()
    turn = (turn.to(exact) * 255).floor() + (shift.squeeze(1).to(exact) * 255).trunc()
    turn = turn - 256 * (turn / 256).floor()  # as a byte overflows
    part = ((chroma / most.clamp(min=1)) * 255).floor().to(exact) / 255
    place = turn * 6 / 255

    def channel(offset: float) -> Tensor:
        """v (1 - s max(0, min(k, 4 - k, 1))), k = (offset + 6 h) mod 6: HSV's six cases in one."""
        k = place + offset
        k = k - 6 * (k / 6).floor()
        return (most * (1 - part * torch.minimum(k, 4 - k).clamp(0, 1)) + 0.5).floor()

    return torch.stack([channel(5), channel(3), channel(1)], dim=1).to(torch.uint8)


def gray(pixels: Pixels, _: Tensor) -> Pixels:
    return _luma(pixels.float()).to(torch.uint8).expand_as(pixels)


def blur(pixels: Pixels, boxes: Float[Tensor, "b 2 reach"]) -> Pixels:
    """Each image with its own box, three times along the rows and three times along the columns."""
    for axis in (3, 2):
        for _ in range(PASSES):
            pixels = _filtered(pixels, boxes, axis)
    return pixels


def solarize(pixels: Pixels, _: Tensor) -> Pixels:
    return torch.where(pixels < SOLARIZE_THRESHOLD, pixels, 255 - pixels)


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Pixels:
    """first + share (second - first), cut to 8 bits."""
    return (first + share * (second - first)).clamp(0, 255).to(torch.uint8)


def _luma(values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """ITU-R 601 in 16-bit fixed point, exact in float32."""
    red, green, blue = values.split(1, dim=1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536).floor()


def _filtered(pixels: Pixels, boxes: Tensor, axis: int) -> Pixels:
    """Along one axis; beyond the border its pixel goes on.

    Pixels of one weight are summed first: whole numbers, exact. Sums near a half are common, so the rest is in double
    precision, where there is any.
    """
    length, reach = pixels.shape[axis], boxes.shape[2] - 1
    first, last = pixels.narrow(axis, 0, 1), pixels.narrow(axis, length - 1, 1)
    padded = torch.cat([*[first] * reach, pixels, *[last] * reach], dim=axis)
    taps = [padded.narrow(axis, tap, length).float() for tap in range(2 * reach + 1)]
    pairs = [taps[reach], *(taps[reach - far] + taps[reach + far] for far in range(1, reach + 1))]
    among = (boxes > 0).float()[..., None, None, None]
    inner, outer = (sum(among[:, part, far] * pair for far, pair in enumerate(pairs)) for part in (0, 1))
    weights = boxes.amax(dim=2).to(_exact(pixels))[..., None, None, None]
    return (inner * weights[:, 0] + outer * weights[:, 1] + 0.5).to(torch.uint8)


def _exact(pixels: Tensor) -> torch.dtype:
    """Double precision where Pillow's result needs it; MPS has none, and differs by a level now and then."""
    return torch.float32 if pixels.device.type == "mps" else torch.float64


def box(sigma: float, largest_sigma: float) -> np.ndarray:
    """(2, reach + 1) float32: the extended box filter (Gwosdek et al. 2011) by distance, as far as the largest needs.

    First row: the weight of the pixels up to `whole` away; second row: that of the next ones, which is smaller, so that
    the variance is a third of the Gaussian's. In Pillow's 24-bit fixed point.
    """
    whole, share = _extended_box(sigma)
    reach = _extended_box(largest_sigma)[0] + 1
    one = 2**24
    inner = int(np.float32(one) / np.float32(2 * (whole + share) + 1))
    outer = (one - (2 * whole + 1) * inner) // 2
    weights = np.zeros((2, reach + 1), np.float32)
    weights[0, : whole + 1], weights[1, whole + 1] = inner / one, outer / one
    return weights


def _extended_box(sigma: float) -> tuple[int, float]:
    variance = sigma**2 / PASSES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    share = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole, share


JITTER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
OPERATIONS = {**JITTER, "gray": gray, "blur": blur, "solarize": solarize}


@cache
def _operation(name: str, compiled: bool) -> Callable[[Any, Any], Tensor]:
    """Compiled for any number of rows: one compilation an operation and image size."""
    return torch.compile(OPERATIONS[name], dynamic=True) if compiled else OPERATIONS[name]
