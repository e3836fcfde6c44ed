"""From what a decoder gives to RGB with 8 bits a channel: 16 bits scaled, transparency on white, white as white.

Large pictures go through in bands of rows, so that no step holds the whole picture in a wider type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_BAND = 2**22  # pixels that are converted at a time


class Range(NamedTuple):
    """The smallest and the largest value of a picture with 16 bits a channel."""

    low: int
    high: int


class UnsupportedError(Exception):
    """Pixels that have no agreed black and white. The text says why and what to do."""


def to_rgb(
    image: Image.Image, white: int = 65535, inverted: bool = False, bits: int = 8
) -> tuple[Image.Image, Range | None]:
    """The picture as RGB, and the range of its values where they have 16 bits.

    white: the value that is white of 16-bit grey.  inverted: whether 0 is white there.  bits: of a channel of the file,
    where Pillow has kept the upper 8. Raises UnsupportedError.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, None if bits == 8 else _range(image)
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "32-bit floating-point" if image.mode == "F" else "32-bit or signed"
        raise UnsupportedError(
            f"{kind} pixels ({image.mode}) have no agreed white; convert them to 8 or 16 bits, unsigned"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _scaled(image, white, inverted)
    if image.has_transparency_data:
        return _on_white(image), None
    return image.convert("RGB"), None


def _range(image: Image.Image) -> Range:
    """Of 16-bit colours, by their upper 8 bits."""
    extrema = [low_high for low_high in image.getextrema() if isinstance(low_high, tuple)]
    return Range(int(256 * min(low for low, _ in extrema)), int(256 * max(high for _, high in extrema)) + 255)


def _scaled(image: Image.Image, white: int, inverted: bool) -> tuple[Image.Image, Range]:
    """0..white to 0..255, rounded; Pillow's own conversion clips at 255."""
    gray = Image.new("L", image.size)
    low, high = 65535, 0
    key = image.info.get("transparency")
    for top, band in _bands(image):
        values = np.asarray(band).astype(np.uint32)
        low, high = min(low, int(values.min())), max(high, int(values.max()))
        scaled = ((values + 128) // 257 if white == 65535 else (values * 255 + white // 2) // white).clip(0, 255)
        scaled = 255 - scaled if inverted else scaled
        if isinstance(key, int):
            scaled[values == key] = 255
        gray.paste(Image.fromarray(scaled.astype(np.uint8)), (0, top))
    return gray.convert("RGB"), Range(low, high)


def _on_white(image: Image.Image) -> Image.Image:
    picture = Image.new("RGB", image.size)
    for top, band in _bands(image):
        clear = band.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        picture.paste(Image.alpha_composite(white, clear).convert("RGB"), (0, top))
    return picture


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Bands of whole rows, from the top, and the row that each begins at."""
    rows = max(1, _BAND // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def to_rgbx(picture: Image.Image) -> UInt8[np.ndarray, "height width 4"]:
    """Red, green, blue and a byte of padding a pixel."""
    pixels = np.empty((picture.height, picture.width, 4), np.uint8)
    for top, band in _bands(picture):
        pixels[top : top + band.height] = np.asarray(band.convert("RGBX"))
    return pixels
