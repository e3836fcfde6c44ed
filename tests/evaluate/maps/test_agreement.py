"""Undoing the crops: maps of what lies in the image agree, whatever the crops and flips; others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lewel.data.augment import Parameters
from lewel.evaluate.maps import agreement

SIZE = (120, 120)
WHOLE = Parameters(SIZE, (0, 0, 120, 120), 64)


def of_the_image(view: Parameters, cells: int = 24) -> torch.Tensor:
    """Two maps that are smooth functions of the place in the image, as the view's cells see them."""
    left, top, right, bottom = view.box()
    steps = (torch.arange(cells) + 0.5) / cells
    x, y = (steps.flip(0) if flipped else steps for flipped in (view.flip, view.vertical_flip))
    across, down = left + (right - left) * x, (top + (bottom - top) * y)[:, None]
    return torch.stack([across + 2 * down, (3 * across).sin() * (2 * down).cos()])


VIEWS = [
    WHOLE,
    replace(WHOLE, flip=True),
    replace(WHOLE, vertical_flip=True),
    replace(WHOLE, crop=(20, 0, 80, 100)),
    replace(WHOLE, crop=(50, 40, 70, 60), flip=True),
]


@pytest.mark.parametrize("one", VIEWS)
@pytest.mark.parametrize("other", VIEWS)
def test_maps_of_the_image_agree(one: Parameters, other: Parameters) -> None:
    shared = agreement.overlap(one, other, 0.1)
    assert shared is not None
    assert agreement.correlation(of_the_image(one), of_the_image(other), one, other, shared, 16) > 0.995


def test_maps_of_the_frame_do_not() -> None:
    """A pull to the left of the view is one to the right of the mirrored view."""
    frame = torch.arange(8.0).expand(1, 8, 8)
    flipped = replace(WHOLE, flip=True)
    found = agreement.correlation(frame, frame, WHOLE, flipped, (0.0, 0.0, 1.0, 1.0), 16)
    assert found == pytest.approx(-1)


def test_noise_does_not_agree_and_flat_maps_say_nothing() -> None:
    one, other = torch.randn(2, 400, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = (0.0, 0.0, 1.0, 1.0)
    assert abs(agreement.correlation(one, other, WHOLE, WHOLE, whole, 16)) < 0.02
    flat = torch.full((3, 8, 8), 1 / 64)
    found = agreement.correlation(flat, flat, WHOLE, WHOLE, whole, 16)
    assert found != found


def test_overlap() -> None:
    one, other = replace(WHOLE, crop=(0, 0, 60, 60)), replace(WHOLE, crop=(30, 48, 60, 60))
    found = agreement.overlap(one, other, 0.09)
    assert found == pytest.approx((0.25, 0.4, 0.5, 0.5))
    assert agreement.overlap(one, other, 0.11) is None  # 30 x 12 of 60 x 60 pixels
    assert agreement.overlap(one, replace(WHOLE, crop=(60, 0, 60, 60)), 0.0) is None
    assert agreement.overlap(one, replace(one, rotation=5.0), 0.1) is None
