"""Crops of a whole batch against Pillow's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling, Transpose

from lewel.data import crops, packed, pillow, tensors
from lewel.data.augment import Parameters

N = 5


class Case:
    """Images of noise, and crops of any size and place of them."""

    def __init__(self, width: int, height: int, side: int, count: int = 120) -> None:
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (N, height, width, 3), dtype=np.uint8)
        self.which = rng.integers(0, N, count)
        widths, heights = rng.integers(1, width + 1, count), rng.integers(1, height + 1, count)
        widths[:2], heights[:2] = (width, 1), (height, 1)
        left, top = (rng.random(count) * (width - widths + 1)).astype(int), rng.integers(0, height - heights + 1)
        self.flips = rng.random((2, count)) < 0.5
        boxes = np.stack([left, top, widths, heights], axis=1).tolist()
        self.parameters = [
            Parameters((width, height), tuple(box), side, flip=bool(flip), vertical_flip=bool(down))
            for box, flip, down in zip(boxes, *self.flips, strict=True)
        ]
        self.filters = crops.filters(max(width, height), side, torch.device("cpu"))
        across, down = self.filters.rows(widths, self.flips[0]), self.filters.rows(heights, self.flips[1])
        self.geometry = torch.from_numpy(np.stack([self.which, left, across, top, down], axis=1))

    def ours(self, compiled: bool = False) -> np.ndarray:
        columns = torch.from_numpy(self.pixels).permute(0, 2, 3, 1).contiguous()
        made = crops.operation(compiled)(columns, self.geometry, self.filters)
        return torch.stack(packed.channels(made), dim=-1).to(torch.uint8).numpy()

    def images(self) -> list[Image.Image]:
        return [Image.fromarray(self.pixels[which]) for which in self.which]


@pytest.mark.parametrize(("width", "height", "side"), [(32, 32, 32), (64, 64, 64), (20, 24, 33), (7, 5, 64), (1, 1, 3)])
def test_crops_up_to_the_output_are_pillows(width: int, height: int, side: int) -> None:
    case = Case(width, height, side)
    theirs = [pillow.augmented(image, p) for image, p in zip(case.images(), case.parameters, strict=True)]
    assert np.array_equal(case.ours(), np.stack([np.asarray(each) for each in theirs]))


@pytest.mark.parametrize(("width", "height", "side"), [(64, 48, 32), (50, 90, 16), (96, 96, 32), (64, 64, 63)])
def test_larger_crops_are_pillows_rows_first(width: int, height: int, side: int) -> None:
    """In one go Pillow may take the columns first; two resizes leave it no choice. Then it is a level at most."""
    case = Case(width, height, side)
    theirs, at_once = [], []
    for image, p in zip(case.images(), case.parameters, strict=True):
        left, top, across, down = p.crop
        crop = image.crop((left, top, left + across, top + down)).resize((side, down), Resampling.BILINEAR)
        crop = crop.resize((side, side), Resampling.BILINEAR)
        crop = crop.transpose(Transpose.FLIP_LEFT_RIGHT) if p.flip else crop
        theirs.append(np.asarray(crop.transpose(Transpose.FLIP_TOP_BOTTOM) if p.vertical_flip else crop))
        at_once.append(np.asarray(pillow.augmented(image, p)))
    ours = case.ours()
    assert np.array_equal(ours, np.stack(theirs))
    difference = np.abs(ours.astype(int) - np.stack(at_once))
    assert difference.max() <= 1 and difference.mean() < 0.15


@pytest.mark.parametrize(
    ("width", "height", "side", "levels"), [(32, 32, 32, 0), (64, 64, 64, 0), (20, 24, 33, 1), (96, 64, 32, 2)]
)
def test_they_are_the_workers_to_single_levels(width: int, height: int, side: int, levels: int) -> None:
    """PyTorch's weights have fewer bits; at the usual sizes nothing comes of it, at others a value in a hundred."""
    case = Case(width, height, side)
    out = torch.empty(len(case.which), side, side, 4, dtype=torch.uint8)
    for row, p in enumerate(case.parameters):
        tensors.resized_crop(
            torch.from_numpy(np.pad(case.pixels[case.which[row]], ((0, 0), (0, 0), (0, 1)))), p, out[row]
        )
    difference = np.abs(case.ours().astype(int) - out[..., :3].numpy())
    assert difference.max() <= levels and (difference > 0).mean() < 0.02


def test_weights_are_whole() -> None:
    """22 bits, and each a rounding of its own."""
    for largest, side in ((32, 32), (64, 32), (300, 7)):
        positions, weights = crops.filters(largest, side, torch.device("cpu"))
        assert ((weights.sum(dim=2) - 2**22).abs() <= weights.shape[2]).all()
        assert (positions >= 0).all() and (positions.amax(dim=(1, 2)) < torch.arange(1, largest + 1).repeat(2)).all()


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    for shape in ((64, 64, 64), (64, 48, 32)):
        case = Case(*shape)
        assert np.array_equal(case.ours(compiled=True), case.ours())
