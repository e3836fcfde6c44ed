"""What happens to an image in each view, drawn apart from doing it.

The parameters of a view are a pure function of (seed, epoch, index, view number), whatever the process, the worker or
the order. They have the distributions of torchvision's `RandomResizedCrop`, `ColorJitter`, `RandomGrayscale`,
`RandomSolarize` and flips, and of MoCo v2's Gaussian blur. An executor (`lewel.data.pillow`) applies them.

BYOL and LEWEL flip after the crop, MoCo v2 flips last. Mirroring commutes with all that lies between, bit for bit
(tested), so one order serves both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lewel.config import View

Jitter = tuple[tuple[str, float], ...]

JITTER = ("brightness", "contrast", "saturation", "hue")
CROP_TRIES = 10

# Streams that must never meet: the second half of the generator's key.
ORDER, VIEW, REPLACEMENT, SPLIT, SUBSET = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Parameters:
    """All of one view of one image, in the order of application.

    size: the image's (width, height).
    crop: left, top, width, height in its pixels, after the rotation, which keeps the size.
    output: side of the square result.
    jitter: (operation, strength) in the order to apply, empty for none; brightness, contrast and saturation are
    factors, hue is a share of the circle.
    blur: sigma in pixels of the output, 0 for none.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    output: int
    rotation: float = 0.0
    flip: bool = False
    vertical_flip: bool = False
    jitter: Jitter = ()
    gray: bool = False
    blur: float = 0.0
    solarize: bool = False

    def geometry(self) -> tuple[int, ...]:
        """As `shapes.View` has it."""
        return (*self.crop, *self.size, int(self.flip), int(self.vertical_flip))

    def box(self) -> tuple[float, float, float, float]:
        """The crop's x0, y0, x1, y1 as shares of the image's width and height."""
        (left, top, width, height), (w, h) = self.crop, self.size
        return left / w, top / h, (left + width) / w, (top + height) / h


def uniforms(count: int, purpose: int, seed: int, epoch: int, index: int, number: int = 0) -> np.ndarray:
    """(count,) float64 in [0, 1), a pure function of the integers.

    Philox is a counter-based generator: the integers are its key and counter, so nothing has to be replayed. The raw
    bits are used, which NumPy keeps stable over versions, unlike its distributions.
    """
    key = np.array([seed % 2**64, purpose], np.uint64)  # from a list, NumPy would round large seeds to floats
    bits = np.random.Philox(key=key, counter=[0, number, index, epoch]).random_raw(count)
    return (bits >> np.uint64(11)) * 2.0**-53


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """(n,) int64: the order in which an epoch visits the images."""
    return np.argsort(uniforms(n, ORDER, seed, epoch, 0), kind="stable")


def sample(
    view: View, size: tuple[int, int], image_size: int, seed: int, epoch: int, index: int, view_number: int
) -> Parameters:
    """Draw the parameters of one view of the image `index`, which is `size` = (width, height) pixels large."""
    u = uniforms(16 + 4 * CROP_TRIES, VIEW, seed, epoch, index, view_number).tolist()
    low, high = view.blur_sigma
    return Parameters(
        size=size,
        crop=_crop(u[16:], size, view.scale, view.ratio),
        output=image_size,
        flip=u[0] < view.flip,
        vertical_flip=u[1] < view.vertical_flip,
        rotation=(2 * u[2] - 1) * view.rotation,
        gray=u[3] < view.gray,
        blur=low + (high - low) * u[5] if u[4] < view.blur else 0.0,
        solarize=u[6] < view.solarize,
        jitter=_jitter(u[8:16], view.jitter) if u[7] < view.jitter_probability else (),
    )


def _crop(
    u: list[float], size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """An area uniform in `scale`, an aspect log-uniform in `ratio`, ten tries to fit; else the largest central crop."""
    full_width, full_height = size
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for try_ in range(CROP_TRIES):
        for_area, for_aspect, for_top, for_left = u[4 * try_ : 4 * try_ + 4]
        area = full_width * full_height * (scale[0] + (scale[1] - scale[0]) * for_area)
        aspect = math.exp(log_low + (log_high - log_low) * for_aspect)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= full_width and 0 < height <= full_height:
            left, top = int((full_width - width + 1) * for_left), int((full_height - height + 1) * for_top)
            return left, top, width, height
    return central_crop(size, ratio)


def central_crop(size: tuple[int, int], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """The largest crop in the middle of an aspect in `ratio`."""
    width, height = size
    if width / height < ratio[0]:
        height = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        width = max(1, round(height * ratio[1]))
    return (size[0] - width) // 2, (size[1] - height) // 2, width, height


def _jitter(u: list[float], strengths: tuple[float, float, float, float]) -> Jitter:
    """The four operations in a random order, each with its own strength; those of strength 0 are left out."""
    operations = []
    for name, strength, draw in zip(JITTER, strengths, u[:4], strict=True):
        low, high = jitter_range(name, strength)
        operations.append((name, low + (high - low) * draw, strength))
    order = sorted(range(4), key=lambda i: u[4 + i])
    return tuple(operations[i][:2] for i in order if operations[i][2] > 0)


def jitter_range(name: str, strength: float) -> tuple[float, float]:
    """The smallest and the largest factor, or for hue the shift."""
    return (-strength, strength) if name == "hue" else (max(0.0, 1 - strength), 1 + strength)
