"""The n-th image of a training is the same whenever it is asked for; images of any size are filled up on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lewel import config
from lewel.data.decode import DecodeError
from lewel.evaluate.dense.loading import Example, Packed, Stream, Testing, Training, batches, mask
from lewel.shapes import Skip

DATA = config.Data(8, (), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Grey:
    """Image i is 2 + i pixels high, 3 wide, of the value 10 i; those of `bad` cannot be read."""

    n: int
    bad: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.n

    def path(self, index: int) -> str:
        return f"{index}.png"

    def read(self, index: int) -> int:
        if index in self.bad:
            raise DecodeError(self.path(index), "is no picture")
        return index


def view(raw: Any, rng: np.random.Generator) -> Example:
    return Example(torch.full((3, 2 + raw, 3), 10 * raw, dtype=torch.uint8), torch.tensor(rng.random()))


def test_a_stream_has_every_image_once_an_epoch_and_no_gap() -> None:
    orders = list(Stream(5, 2, 10, seed=0))
    flat = [index for _, order in orders for index in order]
    assert [step for step, _ in orders] == list(range(10)) and all(len(order) == 2 for _, order in orders)
    assert [sorted(flat[start : start + 5]) for start in (0, 5, 10, 15)] == [[0, 1, 2, 3, 4]] * 4
    assert flat[:5] != flat[5:10]
    assert list(Stream(5, 2, 10, seed=0, start_step=7)) == orders[7:]


def test_batches_are_of_one_kind() -> None:
    kinds = np.array([0, 1, 0, 1, 1, 0, 1])
    stream = Stream(7, 3, 14, seed=1, kinds=kinds)
    orders = list(stream)
    assert all(len({int(kinds[index]) for index in order}) == 1 for _, order in orders)
    counts = np.bincount([index for _, order in orders for index in order])
    assert counts.min() >= 5 and counts.max() <= 7  # of 6 epochs
    assert list(replace(stream, start_step=9)) == orders[9:]


def test_batches_are_mixed_where_there_are_fewer_than_one_of_a_kind() -> None:
    """Two high images, each twice in a batch, have statistics of their own: with the others' nothing was found."""
    kinds = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    assert list(Stream(8, 4, 6, seed=1, kinds=kinds)) == list(Stream(8, 4, 6, seed=1))
    assert all(len(set(order)) == 4 for _, order in Stream(8, 4, 6, seed=1, kinds=kinds))
    assert list(Stream(8, 2, 6, seed=1, kinds=kinds)) != list(Stream(8, 2, 6, seed=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_drawn_belongs_to_the_number_of_the_image(workers: int) -> None:
    views, stream = Training(Grey(4), view, 3, seed=5), Stream(4, 3, 5, seed=5)
    whole = list(batches(views, stream, 0, DATA, CPU))
    drawn = torch.stack([target for batch in whole for target in batch.targets])
    assert len(drawn.unique()) == 15
    rest = list(batches(views, replace(stream, start_step=3), workers, DATA, CPU))
    assert torch.equal(torch.stack([target for batch in rest for target in batch.targets]), drawn[9:])
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(whole[3:], rest, strict=True))


def test_images_are_normalised_and_filled_up_with_zeros() -> None:
    (batch,) = batches(Testing(Grey(3), view), [(0, [0, 2])], 0, DATA, CPU)
    assert batch.pixels.shape == (2, 3, 4, 3) and batch.sizes.tolist() == [[2, 3], [4, 3]]
    assert (batch.pixels[0, :, 2:] == 0).all()
    torch.testing.assert_close(batch.pixels[0, :, :2], torch.full((3, 2, 3), -2.0))
    torch.testing.assert_close(batch.pixels[1], torch.full((3, 4, 3), (20 / 255 - 0.5) / 0.25))
    assert mask(batch.sizes, 4, 3).sum(dim=(1, 2)).tolist() == [6, 12]


def test_unreadable_images_are_replaced_in_training_and_left_out_in_tests() -> None:
    skip = Skip("1.png", "is no picture")
    (batch,) = batches(Training(Grey(3, bad=(1,)), view, 2, seed=0), [(0, [1, 2])], 0, DATA, CPU)
    assert len(batch.targets) == 2 and 1 not in batch.indices.tolist() and skip in batch.skipped
    (batch,) = batches(Testing(Grey(3, bad=(1,)), view), [(0, [0, 1, 2])], 0, DATA, CPU)
    assert batch.indices.tolist() == [0, 2] and batch.skipped == [skip] and len(batch.targets) == 2
    (batch,) = batches(Testing(Grey(3, bad=(1,)), view), [(0, [1])], 0, DATA, CPU)
    assert batch.pixels.shape == (0, 3, 0, 0) and batch.targets == ()


@pytest.mark.parametrize("shape", [(3, 5, 16), (2, 4, 13), (1, 1, 1), (0, 6, 9), (7,)])
def test_what_is_packed_comes_back(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = Packed.of(values)
    assert packed.bits.shape == (*shape[:-1], -(-shape[-1] // 8)) and torch.equal(packed.unpacked(), values)


class Truth(NamedTuple):
    inner: tuple[torch.Tensor, None]
    masks: torch.Tensor


def masked(raw: Any, rng: np.random.Generator) -> Example:
    masks = torch.from_numpy(rng.random((2, 2 + raw, 11)) < 0.5)
    return Example(view(raw, rng).pixels, Truth((torch.tensor(rng.random()), None), masks))


@pytest.mark.parametrize("workers", [0, 1])
def test_masks_travel_with_eight_pixels_a_byte_and_arrive_as_they_were(workers: int) -> None:
    views, order = Training(Grey(4), masked, 3, seed=1), (0, [0, 2, 3])
    expected = [masked(index, np.random.default_rng((1, place))).target for place, index in enumerate(order[1])]
    assert [each.masks.bits.shape for each in views[order].targets] == [(2, 2, 2), (2, 4, 2), (2, 5, 2)]
    (batch,) = batches(views, [order], workers, DATA, CPU)
    for found, truth in zip(batch.targets, expected, strict=True):
        assert isinstance(found, Truth) and found.inner[1] is None and torch.equal(found.inner[0], truth.inner[0])
        assert found.masks.dtype == torch.bool and torch.equal(found.masks, truth.masks)


def test_targets_are_where_the_images_are() -> None:
    (batch,) = batches(Training(Grey(3), masked, 2, seed=0), [(0, [1, 2])], 0, DATA, torch.device("meta"))
    assert batch.pixels.is_meta and all(each.masks.is_meta and each.inner[0].is_meta for each in batch.targets)
