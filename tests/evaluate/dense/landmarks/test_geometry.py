"""Pixels and points go through the same map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lewel.evaluate.dense.landmarks.geometry import Change, cut, inverse, mirrored, moved, square

BLOBS = np.array([[60.3, 52.8], [141.0, 70.5], [95.5, 150.2], [58.0, 121.7]])
CHANGES = {
    "as it is": Change(),
    "turned": Change(rotation=31),
    "larger": Change(scale=1.4),
    "moved": Change(shift=(0.1, -0.07)),
    "mirrored": Change(flip=True),
    "all": Change(-25, 0.8, (-0.04, 0.05), True),
}


def blob(at: np.ndarray, size: tuple[int, int] = (200, 190), sigma: float = 3.0) -> Image.Image:
    """A bright spot around a point."""
    x, y = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    values = np.exp(-((x[None] - at[0]) ** 2 + (y[:, None] - at[1]) ** 2) / (2 * sigma**2))
    return Image.fromarray(np.uint8(np.round(255 * values)))


def centre(image: Image.Image) -> np.ndarray:
    """Of the light."""
    values = np.asarray(image, np.float64)
    y, x = (np.arange(side) + 0.5 for side in values.shape)
    return np.array([(values.sum(0) * x).sum(), (values.sum(1) * y).sum()]) / values.sum()


@pytest.mark.parametrize("size", [48, 128, 256])
@pytest.mark.parametrize("name", CHANGES)
def test_blobs_are_where_their_points_say(name: str, size: int) -> None:
    """Within 0.1 pixels, of crops that are smaller and larger than what they are of."""
    affine = square(BLOBS, 2.2, size, CHANGES[name])
    for at, expected in zip(BLOBS, moved(BLOBS, inverse(affine)), strict=True):
        assert np.abs(centre(cut(blob(at), affine, size)) - expected).max() < 0.1


@pytest.mark.parametrize("name", CHANGES)
def test_back_to_the_image(name: str) -> None:
    affine = square(BLOBS, 1.25, 64, CHANGES[name])
    assert np.allclose(moved(moved(BLOBS, inverse(affine)), affine), BLOBS, atol=1e-9, rtol=0)


def test_the_square_is_margin_times_the_box() -> None:
    points = np.array([[10.0, 20], [50, 40], [30, 30]])
    affine = square(points, 1.25, 100)
    corners = moved(np.array([[0.0, 0], [100, 100]]), affine)
    assert np.allclose(corners, [[5, 5], [55, 55]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(scale=2), [[25, 25], [75, 75]]),
        (Change(shift=(0.1, 0)), [[-10, 0], [90, 100]]),
        (Change(flip=True), [[100, 0], [0, 100]]),
        (Change(rotation=90), [[0, 100], [100, 0]]),
    ],
)
def test_each_change(change: Change, expected: Any) -> None:
    """Of the corners of a square of 100 pixels: where they come to."""
    corners = np.array([[0.0, 0], [100, 100]])
    assert np.allclose(moved(corners, inverse(square(corners, 1, 100, change))), expected)


def test_an_identity_map_leaves_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    affine = square(np.array([[0.0, 0], [40, 40]]), 1, 40)
    assert np.array_equal(np.asarray(cut(Image.fromarray(pixels), affine, 40)), pixels)


def test_small_crops_average_over_all_pixels() -> None:
    """A checkerboard becomes grey, where four looked-at pixels would leave stripes."""
    board = Image.fromarray(np.uint8(255 * (np.indices((240, 240)).sum(axis=0) % 2)))
    affine = square(np.array([[0.0, 0], [240, 240]]), 1, 30, Change(rotation=10))
    inner = np.asarray(cut(board, affine, 30))[8:-8, 8:-8]
    assert np.abs(inner.astype(int) - 127).max() <= 6


def test_beyond_the_image_it_is_black() -> None:
    white = Image.new("RGB", (20, 20), "white")
    found = np.asarray(cut(white, square(np.array([[10.0, 0], [30, 20]]), 1, 20), 20))
    assert (found[:, :9] == 255).all() and (found[:, 11:] == 0).all()
    away = cut(white, square(np.array([[100.0, 100], [130, 120]]), 1, 20), 20)
    assert away.size == (20, 20) and not np.asarray(away).any()


def test_mirroring_twice_is_nothing_and_right_becomes_left() -> None:
    pairs = mirrored(68)
    assert pairs is not None and sorted(pairs) == list(range(68)) and np.array_equal(pairs[pairs], np.arange(68))
    assert pairs[36] == 45 and pairs[39] == 42 and pairs[37] == 44 and pairs[41] == 46 and pairs[40] == 47
    assert pairs[0] == 16 and pairs[17] == 26 and pairs[31] == 35 and pairs[48] == 54 and pairs[59] == 55
    assert pairs[60] == 64 and pairs[67] == 65
    assert [i for i in range(68) if pairs[i] == i] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert mirrored(5) is None
