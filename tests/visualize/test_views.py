"""The picture of the views shows what training draws."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from lewel import config
from lewel.data import augment, pillow
from lewel.errors import UserError
from lewel.visualize import style, views

DATA = config.Data(32, (config.View(), config.View(solarize=1.0)))


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8))


def test_the_views_are_those_of_training() -> None:
    shown = views.sample(picture(), DATA, seed=3, index=7)
    for number, pixels in enumerate(shown.pixels):
        drawn = augment.sample(DATA.views[number], (90, 60), 32, 3, 0, 7, number)
        assert shown.parameters[number] == drawn
        assert np.array_equal(pixels, np.asarray(pillow.augmented(picture(), drawn)))


def test_the_boxes_are_the_crops() -> None:
    figure = views.views_figure([picture()], DATA, seed=3, n=1)
    first = figure.axes[0]
    boxes = {to_hex(patch.get_edgecolor()): patch for patch in first.patches}
    for number, one in enumerate(views.sample(picture(), DATA, 3, 0).parameters):
        x0, y0, x1, y1 = one.box()
        patch = boxes[style.SERIES[number]]
        assert (patch.get_x(), patch.get_y()) == pytest.approx((x0, 1 - y1))
        assert (patch.get_width(), patch.get_height()) == pytest.approx((x1 - x0, y1 - y0))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_block_an_image(count: int) -> None:
    figure = views.views_figure([picture(i) for i in range(5)], DATA, n=count)
    assert len(figure.axes) == 3 * count


def test_describe() -> None:
    one = augment.Parameters(
        (100, 100), (0, 0, 50, 40), 32, flip=True, jitter=(("hue", -0.05), ("contrast", 1.2)), gray=True, blur=1.25
    )
    assert views.describe(one).split("\n") == ["crop 20 %, 50 x 40, flip", "hue -0.05 con 1.20", "gray, blur 1.2 px"]


def test_nothing_to_show() -> None:
    with pytest.raises(UserError, match="no image"):
        views.views_figure([], DATA)
