"""Whole faces, augmented: the same in every process, and each operation as often as it should."""

from __future__ import annotations

import math

import little
import numpy as np
import pytest
import torch

from lewel.data import workers
from lewel.data.cifar import Pixels
from lewel.evaluate.face_views import FaceViews

N = 300
MEAN = (0.5, 0.25, 0.75)


def views(pixels: np.ndarray, erase: bool = False, size: int = little.SIZE, seed: int = 0) -> FaceViews:
    return FaceViews(Pixels("faces", pixels), size, MEAN, seed, erase)


def noise(n: int, side: int = little.SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n, side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("processes", [1, 3])
def test_any_number_of_workers_gives_the_same_pixels(processes: int) -> None:
    faces, orders = views(noise(6), erase=True), [(0, [0, 1, 2]), (1, [3, 4, 5]), (2, [2, 2]), (3, [0])]
    here = [faces[order].pixels for order in orders]
    there = [drawn.pixels for drawn in workers.work(faces, orders, processes, torch.device("cpu"))]
    assert len(there) == 4 and all(map(torch.equal, here, there))


def test_step_seed_and_image_decide() -> None:
    faces, same = views(noise(1)), views(np.repeat(noise(1), 2, axis=0))
    first = faces[(0, [0])].pixels
    assert torch.equal(faces[(0, [0])].pixels, first) and torch.equal(same[(0, [1, 0])].pixels[:, 1:], first)
    assert not torch.equal(faces[(1, [0])].pixels, first)
    assert not torch.equal(views(noise(1), seed=1)[(0, [0])].pixels, first)
    assert not torch.equal(same[(0, [1])].pixels, first)


def test_a_face_that_comes_twice_in_a_step_is_moved_twice() -> None:
    """As balanced classes have it: a class of few images would else fill the batch with copies."""
    drawn = views(noise(1))[(0, [0] * 8)].pixels[0]
    assert len({row.numpy().tobytes() for row in drawn}) > 4


def test_torchs_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    views(noise(2), erase=True)[(0, [0, 1])]
    assert torch.equal(before, torch.get_rng_state()) and torch.initial_seed() == 3


def expect(found: int, share: float) -> None:
    assert abs(found / N - share) < 4 * math.sqrt(share * (1 - share) / N)  # four standard errors


def drawn(pixels: np.ndarray, erase: bool = False) -> np.ndarray:
    """N views of one image, in different steps."""
    faces = views(pixels[None], erase)
    return np.concatenate([faces[(step, [0])].pixels[0].numpy() for step in range(N)])


def test_half_of_the_faces_are_flipped() -> None:
    """The left half is bright; colours, moves and small turns leave it the brighter one."""
    face = np.full((32, 32, 3), 40, np.uint8)
    face[:, :16] = 200
    found = drawn(face)
    middle = found[:, 10:22].mean(axis=(1, 3))  # columns
    expect(int((middle[:, 8:11].mean(axis=1) < middle[:, 21:24].mean(axis=1)).sum()), 1 / 2)


def test_colours_change_in_half_of_the_faces() -> None:
    """The middle of a plane is neither moved nor turned away."""
    found = drawn(np.full((32, 32, 3), (90, 120, 150), np.uint8))[:, 12:20, 12:20]
    assert (found == found[:, :1, :1]).all()
    changed = (found[:, 0, 0] != (90, 120, 150)).any(axis=1)
    expect(int(changed.sum()), 1 / 2)
    bright = found[changed][:, 0, 0].mean(axis=1)
    assert 0.25 * 120 < bright.min() < 0.7 * 120 and bright.max() > 1.3 * 120  # brightness and contrast, 0.5 each


def test_half_are_moved_and_half_are_turned() -> None:
    """A bar in the middle: its centre shows the move, its direction the turn, whatever the colours."""
    side = 128
    face = np.zeros((side, side, 3), np.uint8)
    face[62:66, 34:94] = 255
    faces = views(face[None], size=side)
    shifts, angles = [], []
    for step in range(N):
        seen = faces[(step, [0])].pixels[0, 0].numpy().max(axis=2).astype(int)
        at = np.argwhere(seen > (seen.min() + seen.max()) / 2) - (side - 1) / 2
        (yy, xy), (_, xx) = np.cov(at.T)
        shifts.append(abs(at.mean(axis=0)))
        angles.append(abs(math.degrees(math.atan2(2 * xy, xx - yy) / 2)))
    moved, turned = np.array(shifts).max(axis=1) > 0.9, np.array(angles) > 0.5
    expect(int(moved.sum()), 1 / 2)
    expect(int(turned.sum()), 0.95 / 2)  # smaller turns are not seen
    expect(int((moved & turned).sum()), 0.95 / 4)
    assert 22 < np.max(shifts) < 27 and 9 < np.max(angles) < 10.5  # 0.2 of the side; 10 degrees


def test_half_are_erased_with_the_mean_colour() -> None:
    fill = [round(255 * value) for value in MEAN]
    found = (drawn(np.full((32, 32, 3), 255, np.uint8), erase=True) == fill).all(axis=3).mean(axis=(1, 2))
    erased = found > 0
    expect(int(erased.sum()), 1 / 2)
    assert 0.01 < found[erased].min() < 0.06 and 0.2 < found[erased].max() < 0.36  # of the image
    assert not (drawn(np.full((32, 32, 3), 255, np.uint8)) == fill).all(axis=3).any()


def test_the_whole_face_is_seen_whatever_its_shape() -> None:
    """An image of 20 x 60 as a square: an eighth, without colours, moves and turns, are it itself or its mirror."""
    image = np.random.default_rng(0).integers(0, 256, (60, 20, 3)).astype(np.uint8)
    faces = views(image[None], size=24)
    squeezed = np.asarray(faces.images.read(0).resize((24, 24), 2))
    seen = [faces[(step, [0])].pixels[0, 0].numpy() for step in range(N)]
    expect(sum(bool((face == squeezed).all() or (face == squeezed[:, ::-1]).all()) for face in seen), 1 / 8)
