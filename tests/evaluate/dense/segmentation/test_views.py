"""Image and mask stay together; sizes, crops and colours are those of the protocol."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lewel.evaluate.dense.loading import Example
from lewel.evaluate.dense.segmentation import photometric
from lewel.evaluate.dense.segmentation.views import CropView, WholeView, corner, fitted
from lewel.evaluate.dense.tasks import Segmentation

TASK = Segmentation(lr=0.01, batch_size=4, iterations=60, weight_decay=5e-4, model="fcn8", frame=(4.0, 1.0))
PLAIN = replace(TASK, photometric=False, most_of_one=1.0)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(width: int = 150, height: int = 100) -> tuple[Image.Image, np.ndarray]:
    """A slope from left to right and one from top to bottom; where the first is bright the class is 1."""
    across = np.broadcast_to(np.linspace(0, 250, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 250, height)[:, None], (height, width))
    pixels = np.stack([across, down, np.full((height, width), 40.0)], axis=-1).round().astype(np.uint8)
    return Image.fromarray(pixels), (pixels[:, :, 0] >= 125).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "scale", "wanted"),
    [
        ((500, 375), 1.0, (683, 512)),  # the shorter side decides
        ((375, 500), 0.5, (256, 341)),
        ((500, 100), 1.0, (2048, 410)),  # the longer one
        ((500, 375), 1.999, (1364, 1023)),  # sides are cut to whole pixels before
    ],
)
def test_sizes_are_mmsegmentations(size: tuple[int, int], scale: float, wanted: tuple[int, int]) -> None:
    assert fitted(size, 512, (4.0, 1.0), scale) == wanted


def test_the_base_follows_the_image_size() -> None:
    assert fitted((500, 375), 128, TASK.frame) == (171, 128)


@pytest.mark.parametrize("seed", range(20))
def test_image_and_mask_are_cut_and_flipped_together(seed: int) -> None:
    """The class is where the pixels say, but for what lies within a pixel of the border, or a mixture."""
    pixels, target = CropView(PLAIN, 64)(scene(), random(seed))
    height, width = pixels.shape[1:]
    bright, classes = pixels[0].numpy().astype(int), target.values.numpy()
    assert classes.shape == (64, 64) and (classes[height:] == 255).all() and (classes[:, width:] == 255).all()
    sure = abs(bright - 125) > 6
    assert sure.mean() > 0.8 and ((bright >= 125) == classes[:height, :width])[sure].all()


def test_half_are_flipped_and_sizes_differ() -> None:
    """The slope's direction is the flip; its steepness is the scale, from 0.5 to 2 times 64 / 100."""
    flips, scales = [], []
    for seed in range(400):
        row = CropView(PLAIN, 64)(scene(), random(seed)).pixels[0, 0].double().numpy()
        slope = np.polyfit(np.arange(len(row))[4:-4], row[4:-4], 1)[0]
        flips.append(slope < 0)
        scales.append(250 / 149 / abs(slope))
    assert abs(np.mean(flips) - 0.5) < 4 * 0.5 / np.sqrt(400)
    assert 0.30 < min(scales) < 0.34 and 1.24 < max(scales) < 1.32 and abs(np.mean(scales) - 0.8) < 0.06


def equal(one: Example, other: Example) -> bool:
    same = one.pixels.shape == other.pixels.shape and bool((one.pixels == other.pixels).all())
    return same and bool((one.target.values == other.target.values).all())


def test_the_generator_alone_decides() -> None:
    view = CropView(TASK, 64)
    assert equal(view(scene(), random(3)), view(scene(), random(3)))
    assert not equal(view(scene(), random(3)), view(scene(), random(4)))


def test_whole_images_at_test() -> None:
    image, mask = scene()
    pixels, target = WholeView(TASK, 64)((image, mask), random())
    assert pixels.shape == (3, 64, 96) and (target.values.numpy() == mask).all()
    assert (pixels.numpy() == np.asarray(image.resize((96, 64), 2)).transpose(2, 0, 1)).all()


def test_crops_have_more_than_one_class_where_they_can() -> None:
    """A small object of class 3 in a large image: a plain crop rarely has a quarter of it."""
    classes = np.zeros((120, 120), np.uint8)
    classes[45:75, 45:75] = 3
    classes[:, 118:] = 255

    def good(top: int, left: int) -> bool:
        window = classes[top : top + 32, left : left + 32]
        return bool((window == 3).sum() > 0.25 * (window != 255).sum())

    plain = [good(*corner(classes, 32, 1.0, random(seed))) for seed in range(400)]
    chosen = [good(*corner(classes, 32, 0.75, random(seed))) for seed in range(400)]
    share = float(np.mean([good(top, left) for top in range(89) for left in range(89)]))
    assert abs(np.mean(plain) - share) < 4 * np.sqrt(share * (1 - share) / 400)
    wanted = 1 - (1 - share) ** 11  # ten draws that are looked at, and one that is not
    assert 0.1 < share < 0.4 and abs(np.mean(chosen) - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 400)


def test_what_is_not_counted_is_no_class() -> None:
    """Of 1 and 255 a crop has one class only, and eleven are drawn; the last is taken."""
    drawn = random()
    corner(np.repeat(np.array([[1, 255]], np.uint8), 20, axis=0).repeat(10, axis=1), 5, 0.75, drawn)
    again = random()
    for _ in range(11):
        again.integers(16), again.integers(16)
    assert drawn.random() == again.random()


def test_hue_is_hsvs() -> None:
    pixels = random().integers(0, 256, (3, 5, 40)).astype(np.float32)
    pixels[:, 0, :4] = np.array([[7, 9, 0, 255], [7, 9, 0, 255], [7, 0, 0, 255]])  # grey, dark, white, two the largest
    for turn in (-0.1, 0.0, 0.07, 1 / 3):
        found = photometric.turned(pixels, turn)
        for place in np.ndindex(5, 40):
            h, s, v = colorsys.rgb_to_hsv(*pixels[:, *place].astype(float))
            np.testing.assert_allclose(found[:, *place], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_saturation_is_hsvs(factor: float) -> None:
    pixels = random().integers(0, 256, (3, 5, 40)).astype(np.float32)
    pixels[:, 0, :3] = np.array([[7, 0, 255], [7, 0, 255], [7, 0, 255]])
    found = photometric.saturated(pixels, factor)
    for place in np.ndindex(5, 40):
        h, s, v = colorsys.rgb_to_hsv(*pixels[:, *place].astype(float))
        np.testing.assert_allclose(found[:, *place], colorsys.hsv_to_rgb(h, min(s * factor, 1), v), atol=1e-3)


def test_photometric_bounds_and_chances() -> None:
    """A grey plane shows brightness and contrast alone: value * U(0.5, 1.5) + U(-32, 32), in one order or nearly so."""
    grey = np.full((3, 1, 1), 80, np.float32)
    found = np.array([float(photometric.distorted(grey, random(seed))[0, 0, 0]) for seed in range(2000)])
    same, brighter = float((found == 80).mean()), found[found != 80]
    assert abs(same - 1 / 4) < 4 * np.sqrt(3 / 16 / 2000)
    assert 24 <= brighter.min() < 33 and 154 < brighter.max() <= 168  # (80 -+ 32) * (1 -+ 0.5)


def test_photometric_changes_nothing_that_it_is_given() -> None:
    pixels = random().integers(0, 256, (3, 8, 8)).astype(np.float32)
    before = pixels.copy()
    for seed in range(50):
        found = photometric.distorted(pixels, random(seed))
        assert found.dtype == np.float32 and found.min() > -1e-3 and found.max() < 255 + 1e-3  # but for rounding
    assert (pixels == before).all()
