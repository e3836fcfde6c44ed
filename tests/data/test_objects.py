"""Data sets in memory: every form of an item is the same picture, and labels come from where the data set has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from lewel.data.decode import DecodeError
from lewel.data.objects import InMemory, named, picture
from lewel.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
CHANNELS_FIRST = torch.from_numpy(PIXELS).permute(2, 0, 1)
FORMS: dict[str, Any] = {
    "an image": Image.fromarray(PIXELS),
    "an array": PIXELS,
    "an array, channels first": PIXELS.transpose(2, 0, 1),
    "a tensor": CHANNELS_FIRST,
    "a tensor of floats": CHANNELS_FIRST.float() / 255,
    "an array of floats": PIXELS / 255,
    "a pair": (PIXELS, 3),
    "a list": [PIXELS, 3, "more"],
    "a dict": {"image": PIXELS, "label": 3},
    "a dict by another name": {"img": Image.fromarray(PIXELS)},
    "an opaque array": np.dstack([PIXELS, np.full((6, 5), 255, np.uint8)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_picture(form: str) -> None:
    assert np.array_equal(np.asarray(picture(FORMS[form])), PIXELS)


def test_a_path_is_a_picture(tmp_path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(picture(tmp_path / "a.png")), PIXELS)
    assert np.array_equal(np.asarray(picture(str(tmp_path / "a.png"))), PIXELS)


@pytest.mark.parametrize(
    "gray", [PIXELS[..., 0], PIXELS[..., :1], PIXELS[None, ..., 0], torch.from_numpy(PIXELS[..., 0])]
)
def test_one_channel_is_gray(gray) -> None:
    assert np.array_equal(np.asarray(picture(gray)), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_a_square_of_three_rows_is_told_by_its_kind() -> None:
    square = np.random.default_rng(0).integers(0, 256, (3, 3, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(picture(square)), square)
    assert np.array_equal(np.asarray(picture(torch.from_numpy(square))), square.transpose(1, 2, 0))


class Pairs(Dataset):
    """As torch has them: (image, number of the class)."""

    def __init__(self, numbers: list[int], **attributes: Any) -> None:
        self.numbers = numbers
        self.__dict__ |= attributes

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return PIXELS, self.numbers[index]


class Column:
    names = ("cat", "dog")


class Rows:
    """As Hugging Face has them: dicts, columns by name, and features that name the classes."""

    column_names = ("image", "label")
    features: Mapping[str, Any] = {"image": None, "label": Column()}

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int | str) -> Any:
        return [1, 0, 1] if index == "label" else {"image": PIXELS, "label": [1, 0, 1][int(index)]}


def labels(data: Any, split: Any = None) -> tuple[list[int] | None, list[str] | None]:
    found = named(data).open(split)
    return None if found.labels is None else found.labels.tolist(), found.classes


def test_labels_come_from_where_the_data_set_has_them() -> None:
    numbers = [1, 0, 1]
    assert labels(Pairs(numbers, targets=numbers, classes=["cat", "dog"])) == (numbers, ["cat", "dog"])
    assert labels(Pairs(numbers, labels=np.array(numbers))) == (numbers, ["0", "1"])
    assert labels(Subset(Pairs(numbers, targets=torch.tensor(numbers)), [2, 1])) == ([1, 0], ["0", "1"])
    assert labels(Rows()) == (numbers, ["cat", "dog"])
    assert labels([(PIXELS, "dog"), (PIXELS, "cat")]) == ([1, 0], ["cat", "dog"])
    assert labels([PIXELS, PIXELS]) == (None, None)


def test_items_are_read_for_labels_only_where_there_are_parts() -> None:
    pairs = Pairs([1, 0, 1])
    assert labels(pairs) == (None, None) and "`targets`" in named(pairs).open(None).unlabelled
    assert labels({"train": pairs, "test": pairs}, "val") == ([1, 0, 1], ["0", "1"])


def test_labels_that_are_no_classes_are_none() -> None:
    for wrong in ([-1, 0], [0.5, 1], [None, 1], [[1], [0]]):
        found = named(Pairs([0, 1], targets=wrong)).open(None)
        assert found.labels is None and found.unlabelled


def test_parts_are_named_as_folders_are() -> None:
    data = named({"train": [PIXELS] * 3, "validation": [PIXELS] * 2, "test": [PIXELS]})
    assert data == "list of 3 images" and isinstance(data, InMemory) and data.is_divided
    assert [len(data.open(split)) for split in (None, "train", "val")] == [3, 3, 2]
    assert not named({"train": [PIXELS]}).is_divided
    with pytest.raises(UserError, match="is not divided"):
        named([PIXELS]).open("val")


def test_an_item_that_fails_is_one_that_cannot_be_read() -> None:
    images = named([PIXELS, {"image": "nothing.png"}, None, PIXELS[0, 0]]).open(None)
    for index, reason in ((1, "no such file"), (2, "NoneType"), (3, "PIL image or an array")):
        with pytest.raises(DecodeError, match=reason):
            images.read(index)
    assert images.crcs(np.arange(4)).tolist()[1:] == [0, 0, 0]


def test_parts_of_the_data_keep_the_names_of_their_items() -> None:
    images = named([PIXELS, PIXELS // 2, PIXELS // 3]).open(None)
    part = images.subset(np.array([2, 0]))
    assert part.path(0) == "list of 3 images#2" and np.array_equal(np.asarray(part.read(0)), PIXELS // 3)
    assert list(part.names) == ["2", "0"] and np.array_equal(part.rgbx(1)[..., :3], PIXELS)
    assert part.crcs(np.array([1]))[0] == images.crcs(np.array([0]))[0] != images.crcs(np.array([1]))[0]
