"""mmsegmentation's photometric distortion, in floating point: pixels are 0 to 255, cut to that after each step.

    brightness + U(-32, 32)    contrast x U(0.5, 1.5)    saturation x U(0.5, 1.5)    hue + a whole number of 1/180 turns

Each with a chance of 1/2; contrast comes second or last. Hue and saturation are HSV's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

Pixels = Float32[np.ndarray, "3 h w"]

BRIGHTNESS = 32.0
FACTORS = (0.5, 1.5)  # of contrast and saturation
HUE, TURN = 18, 180  # -18 to 17 of so many steps: the upper end is left out, as it is there


def distorted(pixels: Pixels, random: np.random.Generator) -> Pixels:
    if random.random() < 0.5:
        pixels = (pixels + np.float32(random.uniform(-BRIGHTNESS, BRIGHTNESS))).clip(0, 255)
    early = random.random() < 0.5
    if early:
        pixels = _contrast(pixels, random)
    if random.random() < 0.5:
        pixels = saturated(pixels, random.uniform(*FACTORS))
    if random.random() < 0.5:
        pixels = turned(pixels, random.integers(-HUE, HUE) / TURN)
    return pixels if early else _contrast(pixels, random)


def saturated(pixels: Pixels, factor: float) -> Pixels:
    """HSV's saturation times the factor, 1 at most: each channel's distance to the largest grows so."""
    most = pixels.max(axis=0)
    fullest = most / np.maximum(most - pixels.min(axis=0), np.float32(1e-6))
    return most - (most - pixels) * np.minimum(np.float32(factor), fullest)


def turned(pixels: Pixels, turn: float) -> Pixels:
    """HSV's hue, turned by a share of the circle."""
    red, green, blue = pixels
    most = pixels.max(axis=0)
    chroma = most - pixels.min(axis=0)
    some = np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(
        most == red, (green - blue) / some, np.where(most == green, 2 + (blue - red) / some, 4 + (red - green) / some)
    )

    def channel(sixths: int) -> np.ndarray:
        k = (hue + np.float32(6 * turn + sixths)) % 6
        return most - chroma * np.minimum(k, 4 - k).clip(0, 1)

    return np.stack([channel(5), channel(3), channel(1)])


def _contrast(pixels: Pixels, random: np.random.Generator) -> Pixels:
    if random.random() < 0.5:
        return (pixels * np.float32(random.uniform(*FACTORS))).clip(0, 255)
    return pixels
