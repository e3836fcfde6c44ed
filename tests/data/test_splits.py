"""The names that tools give to the parts of a data set, and what stands for which."""

from __future__ import annotations

import pytest

from lewel.data import splits
from lewel.errors import UserError


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("train", "train Train TRAIN training Training train2017 train_set trainset train-images ILSVRC2012_img_train"),
        ("val", "val VAL valid Valid validation dev val2017 valset val_256 images_val eval"),
        ("test", "test Test testing tests test2015 test_set test1"),
        (None, "trainval train_val training_validation bus tram cat valley deviant contest 2017 images unlabeled"),
    ],
)
def test_a_name_stands_for_a_part(part: str | None, names: str) -> None:
    assert {name: splits.part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ("train valid", ("train", "valid", ())),
        ("train valid test", ("train", "valid", ("test",))),
        ("Train TEST", ("Train", "TEST", ())),
        ("train2017 val2017 annotations", ("train2017", "val2017", ())),
        ("training test tests validation", ("training", "validation", ("test", "tests"))),
    ],
)
def test_test_is_taken_only_where_there_is_no_val(names: str, chosen: tuple[str, str, tuple[str, ...]]) -> None:
    assert splits.is_divided(names.split())
    assert splits.named(names.split(), "--data d") == chosen


def test_what_surprises_is_said() -> None:
    assert splits.said(splits.Named("train", "valid", ("test",))) == "valid is measured on; test is not used"
    assert splits.said(splits.Named("train", "test", ())) == "test is measured on, as there is no val"
    assert splits.said(splits.Named("train", "val", ())) == ""


def test_two_names_of_one_part_are_refused() -> None:
    with pytest.raises(UserError, match="--data d: val and valid are all names of the part for validation"):
        splits.named(["train", "val", "valid"], "--data d")
    with pytest.raises(UserError, match="train2014 and train2017 are all names of the part for training"):
        splits.train_name(["train2014", "train2017", "val2017"], "--data d")
    assert splits.train_name(["train", "val", "valid"], "--data d") == "train"  # which needs no val


def test_parts_are_no_classes() -> None:
    for names in ("train valid", "val test", "Train unlabeled", "test2017 val2017"):
        assert splits.are_parts(names.split())
    for names in ("train bus", "unlabeled extra", "cat dog", "train_val trainval"):
        assert not splits.are_parts(names.split())
    assert not splits.is_divided(["train", "unlabeled"]) and not splits.is_divided(["val", "test"])
