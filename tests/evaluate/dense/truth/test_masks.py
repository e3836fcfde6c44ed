"""Masks hold the values of their files; all are looked at before anything begins."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel.data import scenes
from lewel.data.scene_objects import CLASSES
from lewel.errors import UserError
from lewel.evaluate.dense.truth.masks import open_segmentation


def put(root: Path, mask: Image.Image, split: str = "train", size: tuple[int, int] = (6, 4)) -> Path:
    aug = "Aug" if split == "trainaug" else ""
    for folder in ("JPEGImages", f"SegmentationClass{aug}", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(root / "JPEGImages/a.jpg")
    mask.save(root / f"SegmentationClass{aug}/a.png")
    (root / f"ImageSets/Segmentation/{split}.txt").write_text("a\n")
    return root


def masked(*values: int) -> Image.Image:
    """6 x 4 pixels; the first have these values, the others 0."""
    pixels = np.zeros((4, 6), np.uint8)
    pixels.reshape(-1)[: len(values)] = values
    image = Image.fromarray(pixels, "P")
    image.putpalette(scenes.PALETTE)
    return image


def test_scenes_masks_are_their_class_masks(tmp_path: Path) -> None:
    root = scenes.make(tmp_path / "scenes", train=6, val=2, size=48)
    told: list[tuple[int, int]] = []
    found = open_segmentation(root, "train", lambda done, total: told.append((done, total)))
    made = scenes.Made(6, 2, 48, 0)
    masks = [scenes.class_mask(scenes.scene(made, "train", i)) for i in range(6)]
    for i, mask in enumerate(masks):
        assert np.array_equal(found.mask(i), mask) and found.image(i).size == found.sizes[i] == (48, 48)
    counts = np.bincount(np.concatenate([mask.reshape(-1) for mask in masks]), minlength=256)
    assert found.pixels.tolist() == [*counts[:11], counts[255]]
    assert found.classes == ("background", *CLASSES) and told == [(i, 6) for i in range(1, 7)]
    assert sum(found.facts()["share_of_pixels"].values()) == pytest.approx(1, abs=1e-5)


def test_trainaug_comes_before_train(tmp_path: Path) -> None:
    root = put(tmp_path, masked(1))
    before = open_segmentation(root, "train")
    after = open_segmentation(put(root, masked(2), "trainaug"), "train")
    assert before.split == "train" and before.mask(0)[0, 0] == 1
    assert after.split == "trainaug" and after.mask(0)[0, 0] == 2 and before.digest != after.digest


def test_values_are_classes_not_colours(tmp_path: Path) -> None:
    """255 counts for itself, grey images are taken as they are."""
    found = open_segmentation(put(tmp_path, masked(20, 255, 255)), "train")
    assert found.mask(0)[0, :4].tolist() == [20, 255, 255, 0]
    assert found.pixels[[0, 20, 21]].tolist() == [21, 1, 2]
    put(tmp_path, Image.fromarray(np.full((4, 6), 7, np.uint8)))
    assert open_segmentation(tmp_path, "train").pixels[7] == 24


def grey(*values: int, kind: type = np.uint8) -> Image.Image:
    pixels = np.zeros((4, 6), kind)
    pixels.reshape(-1)[: len(values)] = values
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("mask", "size", "words"),
    [
        (masked(21), (6, 4), "has the value 21; 0 to 20 are classes, 255 is not counted"),
        (masked(1), (4, 6), "is 6 x 4, its image 4 x 6"),
        (masked(1).convert("RGB"), (6, 4), "has RGB pixels, which are no classes"),
        (masked(1).convert("RGBA"), (6, 4), "has RGBA pixels, which are no classes"),
        (grey(1).convert("LA"), (6, 4), "has LA pixels, which are no classes"),
        (grey(255).convert("1"), (6, 4), "has 1 pixels, which are no classes"),
        (grey(1, kind=np.uint16), (6, 4), "has I;16 pixels, which are no classes"),
        (grey(), (6, 4), "all pixels of train's masks are 0, background; the first class is 1"),
        (grey(*[255] * 24), (6, 4), "all pixels of train's masks are 255, not counted"),
        (grey(255, 255), (6, 4), "0, background, or 255, not counted: no object .* where 255 is the object, write 1"),
        (grey(128, 255), (6, 4), "has the value 128; 0 to 20 are classes"),
    ],
)
def test_masks_that_do_not_fit(tmp_path: Path, mask: Image.Image, size: tuple[int, int], words: str) -> None:
    root = put(tmp_path, mask, size=size)
    with pytest.raises(UserError, match=words) as error:
        open_segmentation(root, "train")
    assert str(error.value).count("--data") == 1 and "\n" not in str(error.value)


def test_masks_in_other_files_than_png(tmp_path: Path) -> None:
    """JPEG changes values; the extension's case does not matter."""
    root = put(tmp_path, masked(1))
    file = root / "SegmentationClass/a.png"
    file.rename(file.with_suffix(".PNG"))
    assert open_segmentation(root, "train").mask(0)[0, 0] == 1
    grey(1).save(file, format="JPEG")
    with pytest.raises(UserError, match=r"a\.png cannot be read: it is no PNG"):
        open_segmentation(root, "train")
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png cannot be read: it is no PNG"):
        open_segmentation(root, "train")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match=r"a\.png cannot be read: it is not a regular file"):
        open_segmentation(root, "train")


def test_classes_of_masks(tmp_path: Path) -> None:
    root = put(tmp_path, masked(2))
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    with pytest.raises(UserError, match=r"classes\.txt names background, which is 0 in every mask; leave it out"):
        open_segmentation(root, "train")
    (root / "classes.txt").write_text("".join(f"class {number}\n" for number in range(255)))
    with pytest.raises(UserError, match=r"classes\.txt names 255 classes; masks of 8 bits have 254 at most"):
        open_segmentation(root, "train")


def test_images_of_masks_have_any_extension(tmp_path: Path) -> None:
    root = put(tmp_path, masked(1))
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/a.JPEG")
    found = open_segmentation(root, "train")
    assert found.read(0)[0].size == (6, 4) and found.image_file(0).name == "a.JPEG"
    (root / "JPEGImages/a.JPEG").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"the image of .*a\.png cannot be read: .*a\.JPEG: not an image"):
        open_segmentation(root, "train")


def test_what_is_missing(tmp_path: Path) -> None:
    root = put(tmp_path, masked(1))
    with pytest.raises(UserError, match=r"val\.txt is missing; splits there: train"):
        open_segmentation(root, "val")
    (root / "SegmentationClass/a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png cannot be read"):
        open_segmentation(root, "train")
    (root / "SegmentationClass/a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png cannot be read: No such file"):
        open_segmentation(root, "train")
    (root / "ImageSets/Segmentation/train.txt").write_text("\n")
    with pytest.raises(UserError, match="names no images"):
        open_segmentation(root, "train")


def test_a_subset_is_what_its_images_would_be_alone(tmp_path: Path) -> None:
    root = scenes.make(tmp_path / "scenes", train=6, val=2, size=48)
    found = open_segmentation(root, "train").subset(np.array([4, 1]))
    names = open_segmentation(root, "train").names
    (found.folder / "ImageSets/Segmentation/train.txt").write_text(f"{names[4]}\n{names[1]}\n")
    alone = open_segmentation(root, "train")
    assert found.names == alone.names and found.sizes == alone.sizes and found.digest == alone.digest
    assert np.array_equal(found.pixels, alone.pixels) and np.array_equal(found.mask(0), alone.mask(0))
