"""Colour operations on packed pixels, each with exactly Pillow's result: 8 bits in, 8 bits out, its roundings between.

A pixel is an int32: red in the lowest byte, then green, then blue, as Pillow has them in memory; the highest byte is
padding and means nothing. So a pixel is one lane of a vector unit, and no channel has to be moved. Whole numbers below
2**24 are exact in float32; nothing else is rounded but where Pillow rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from lewel.data.pillow import SOLARIZE_THRESHOLD

Pixels = Int32[Tensor, "b h w"]
Constants = Float[Tensor, " 3"]  # one a channel
Amount = Float[Tensor, "b 1 1"]

PASSES = 3  # Pillow's Gaussian is so many box filters, one after the other
_ONE = 2**24  # of the box filter's fixed point
_SIGNS = -0x7F7F7F80  # 0x80808080: the highest bit of each byte


def from_bytes(pixels: UInt8[Tensor, "*b h w 4"]) -> Int32[Tensor, "*b h w"]:
    """The same memory, pixel by pixel."""
    return pixels.view(torch.int32).squeeze(-1)


def channels(pixels: Int32[Tensor, "*any"]) -> tuple[Int32[Tensor, "*any"], ...]:
    """Red, green and blue, 0..255."""
    return pixels & 255, (pixels >> 8) & 255, (pixels >> 16) & 255


def packed(red: Tensor, green: Tensor, blue: Tensor) -> Pixels:
    """`channels` backwards."""
    return red | green << 8 | blue << 16


def brightness(pixels: Pixels, factor: Amount) -> Pixels:
    return _blend(torch.zeros((), device=pixels.device), pixels, factor)


def contrast(pixels: Pixels, factor: Amount) -> Pixels:
    count = pixels.shape[1] * pixels.shape[2]
    total = _luma(pixels).sum(dim=(1, 2), keepdim=True)
    return _blend(((2 * total + count) // (2 * count)).float(), pixels, factor)


def saturation(pixels: Pixels, factor: Amount) -> Pixels:
    return _blend(_luma(pixels).float(), pixels, factor)


def hue(pixels: Pixels, steps: Amount) -> Pixels:
    """Through Pillow's 8-bit HSV, whose circle has 256 steps: hue and saturation are cut to 8 bits, then back, rounded.

    steps: whole numbers. With one rounding in another place than here, hues that fall on whole numbers are a level
    off. The way back needs none before the last: v s share / 255**2 is never half a level.
    """
    red, green, blue = (channel.float() for channel in channels(pixels))
    most, least = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = most - least
    far = (most - (red + green + blue - most - least)) / chroma.clamp(min=1)  # of the middle one
    sixth = torch.where(
        red == most,
        torch.where(green < blue, far - 1, 1 - far),
        torch.where(
            green == most,
            torch.where(blue <= red, 1 + far, 3 - far),
            torch.where(red <= green, 3 + far, 5 - far),
        ),
    )
    turn = (torch.where(sixth < 0, sixth / 6 + 1, sixth / 6) * 255).floor() + steps
    turn = 6 * (turn - 256 * (turn / 256).floor())  # a byte overflows; from here on a sixth of the circle is 255
    strength = most * (chroma / most.clamp(min=1) * 255).floor()

    def channel(sixths: int) -> Tensor:
        """v (1 - s max(0, min(k, 4 - k, 1))), k = (sixths + 6 h) mod 6: HSV's six cases in one."""
        k = turn + 255 * sixths
        k = torch.where(k >= 1530, k - 1530, k)
        share = torch.minimum(k, 1020 - k).clamp(0, 255)
        return (most - (strength * share / 65025 + 0.5).floor()).to(torch.int32)

    return packed(channel(5), channel(3), channel(1))


def gray(pixels: Pixels, _: Amount) -> Pixels:
    luma = _luma(pixels)
    return packed(luma, luma, luma)


def solarize(pixels: Pixels, _: Amount) -> Pixels:
    return packed(*(torch.where(c < SOLARIZE_THRESHOLD, c, 255 - c) for c in channels(pixels)))


def blur(pixels: Pixels, boxes: Int32[Tensor, "b reach"]) -> Pixels:
    """Each image with its own `box`, three times along the rows and three times along the columns.

    Levels are -128..127 here: so the fixed point's largest sum is just below 2**31.
    """
    across = _thrice((pixels ^ _SIGNS).transpose(1, 2).contiguous(), boxes)
    return _thrice(across.transpose(1, 2).contiguous(), boxes) ^ _SIGNS


def normalised(pixels: Pixels, mean: Constants, std: Constants) -> Float[Tensor, "b 3 h w"]:
    """(pixels / 255 - mean) / std, in channels-last memory."""
    values = [(channel.float() / 255 - mean[i]) / std[i] for i, channel in enumerate(channels(pixels))]
    return torch.stack(values, dim=-1).permute(0, 3, 1, 2)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "gray": gray,
    "blur": blur,
    "solarize": solarize,
}


def _blend(first: Tensor, pixels: Pixels, share: Amount) -> Pixels:
    """first + share (channel - first), cut to 8 bits."""
    mixed = (first + share * (channel - first) for channel in channels(pixels))
    return packed(*(value.clamp(0, 255).to(torch.int32) for value in mixed))


def _luma(pixels: Pixels) -> Int32[Tensor, "b h w"]:
    """ITU-R 601 in 16-bit fixed point."""
    red, green, blue = channels(pixels)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _thrice(pixels: Pixels, boxes: Tensor) -> Pixels:
    """Along the columns: there what follows in memory is treated alike, and only whole rows are fetched."""
    levels = pixels.unsqueeze(-1).view(torch.int8)
    for _ in range(PASSES):
        levels = _filtered(levels, boxes)
    return levels.view(torch.int32).squeeze(-1)


def _filtered(levels: Tensor, boxes: Tensor) -> Tensor:
    """(b, h, w, 4) int8 along the columns; beyond the border its pixel goes on."""
    height = levels.shape[1]
    rows = torch.arange(height, device=levels.device)
    weights = boxes[:, None, None, None]

    def tap(distance: int) -> Tensor:
        return levels.index_select(1, (rows + distance).clamp(0, height - 1)).to(torch.int32)

    total = tap(0) * weights[..., 0] + _ONE // 2
    for far in range(1, boxes.shape[1]):
        total = total + (tap(-far) + tap(far)) * weights[..., far]
    return (total >> 24).to(torch.int8)


def box(sigma: float, largest_sigma: float) -> np.ndarray:
    """(reach + 1,) int32: the extended box filter (Gwosdek et al. 2011) by distance, as far as the largest needs.

    The pixels up to `whole` away weigh the same; the next ones less, so that the variance is a third of the Gaussian's.
    In Pillow's 24-bit fixed point.
    """
    whole, share = _extended_box(sigma)
    inner = int(np.float32(_ONE) / np.float32(2 * (whole + share) + 1))
    weights = np.zeros(_extended_box(largest_sigma)[0] + 2, np.int32)
    weights[: whole + 1], weights[whole + 1] = inner, (_ONE - (2 * whole + 1) * inner) // 2
    return weights


def _extended_box(sigma: float) -> tuple[int, float]:
    variance = sigma**2 / PASSES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    share = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole, share
