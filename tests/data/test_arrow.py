"""Pillow's memory, lent."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from PIL import Image

from lewel.data.arrow import rgbx


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (500, 375), (2100, 2200)])
def test_the_pixels_are_the_images(size: tuple[int, int]) -> None:
    """The last is too large for one piece of memory: it is copied."""
    image = picture(*size)
    assert np.array_equal(rgbx(image)[..., :3], np.asarray(image))


def test_nothing_is_copied_and_the_memory_outlives_the_image() -> None:
    image = picture(64, 48)
    expected, first, second = np.array(image), rgbx(image), rgbx(image)
    assert first.ctypes.data == second.ctypes.data
    del image, second
    gc.collect()
    others = [picture(64, 48) for _ in range(50)]
    assert np.array_equal(first[..., :3], expected) and others
