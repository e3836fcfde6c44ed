"""What a job is given and measures: crops for training, whole images for the test, and the worst of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lewel.data import scenes
from lewel.data.decode import DecodeError
from lewel.errors import UserError
from lewel.evaluate.dense.segmentation import miou, task
from lewel.evaluate.dense.segmentation.model import build
from lewel.evaluate.dense.segmentation.views import fitted
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented, open_segmentation
from lewel.model.encoder import Encoder

TASK = Segmentation(lr=0.01, batch_size=4, iterations=6, weight_decay=5e-4, model="fcn8", base=(4.0, 1.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, two of val's in other sizes."""
    root = scenes.make(tmp_path_factory.mktemp("voc") / "scenes", train=7, val=5, size=48)
    val = open_segmentation(root, "val")
    for index, size in ((1, (60, 40)), (3, (33, 71))):
        val.image(index).resize(size).save(val.image_file(index))
        mask = Image.fromarray(val.mask(index)).resize(size, Image.Resampling.NEAREST)
        mask.save(val.mask_file(index))
    return root


@pytest.fixture
def val(root: Path) -> Segmented:
    return open_segmentation(root, "val")


def job(root: Path, directory: Path, seed: int = 0) -> Any:
    data: Any = (open_segmentation(root, "train"), open_segmentation(root, "val"))
    return little.job(TASK, little.subject(little.encoder("resnet18"), 512), data, directory, seed)


class Knowing(torch.nn.Module):
    """Says what it is told, in the order in which it is asked."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def predict(self, images: Tensor, sizes: Tensor, to: list[tuple[int, int]]) -> list[Tensor]:
        found = list(islice(self.answers, len(to)))
        assert [tuple(each.shape) for each in found] == to
        return found


def in_order(val: Segmented) -> list[int]:
    """As images are tested: those of one size together."""
    seen = [fitted(size, little.SIZE, TASK.base) for size in val.sizes]
    return [index for group in task.alike(seen, task.TOGETHER) for index in group]


def test_perfect_predictions(root: Path, val: Segmented, out: Path) -> None:
    masks = [torch.from_numpy(val.mask(index)) for index in in_order(val)]
    module: Any = Knowing([mask.where(mask != 255, 0) for mask in masks])
    numbers, arrays = task.measure(job(root, out), module, val)
    assert numbers == {"mIoU": 100.0, "pixel_accuracy": 100.0, "mean_class_accuracy": 100.0}
    assert arrays["images"].tolist() == [0, 1, 2, 3, 4] and arrays["confusion"].shape == (5, 11, 11)
    counts = np.array([np.bincount(val.mask(index).reshape(-1), minlength=256)[:11] for index in range(5)])
    assert (arrays["confusion"].sum(axis=2) == counts).all() and arrays["confusion"].dtype == np.int32


def test_the_worst_come_first(root: Path, val: Segmented, out: Path) -> None:
    """Of each image a part is taken for the background, of image 3 the most."""
    random, answers = np.random.default_rng(0), dict[int, Tensor]()
    for index, share in enumerate((0.1, 0.5, 0.0, 0.9, 0.3)):
        mask = val.mask(index)
        lost = random.random(mask.shape) < share
        answers[index] = torch.from_numpy(np.where(lost | (mask == 255), 0, mask).astype(np.uint8))
    module: Any = Knowing([answers[index] for index in in_order(val)])
    _, arrays = task.measure(job(root, out), module, val)
    again: Any = Knowing([answers[3], answers[1]])
    first, second = task.cases(job(root, out), again, val, arrays, 2)
    assert (first.name, second.name) == (val.names[3], val.names[1]) and first.score < second.score < 60
    assert first.image.size == (33, 71) and np.array_equal(first.truth, val.mask(3))
    assert np.array_equal(first.predicted, answers[3].numpy())
    matrix = miou.confusion(answers[3], torch.from_numpy(val.mask(3)), 11)
    assert first.score == miou.iou(matrix).nanmean().item()


def test_training_batches_are_whole_crops_and_go_on(root: Path, val: Segmented, out: Path) -> None:
    here = job(root, out)
    train = open_segmentation(root, "train")
    batches = list(task.training_batches(here, train, 0))
    assert len(batches) == 6 and all(len(batch.targets) == 4 for batch in batches)
    assert {tuple(t.values.shape) for batch in batches for t in batch.targets} == {(little.SIZE, little.SIZE)}
    assert sorted(i for batch in batches for i in batch.indices.tolist())[:3] == [0, 0, 0]
    later = list(task.training_batches(here, train, 4))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(later, batches[4:], strict=True))
    other = next(task.training_batches(replace(here, seed=1), train, 0))
    assert other.indices.tolist() != batches[0].indices.tolist()


def test_a_network_is_measured_and_trains_on(root: Path, val: Segmented, out: Path) -> None:
    here = job(root, out)
    module = build(here.subject.encoder, TASK, 11)
    numbers, arrays = task.measure(here, module, val)
    assert module.training and 0 <= numbers["mIoU"] < 60 and arrays["confusion"].sum() > 0
    assert numbers == task.measure(here, module, val)[0]


def test_sizes_that_are_alike() -> None:
    sizes = [(4, 3), (3, 4), (4, 3), (4, 3), (3, 4), (4, 3)]
    assert task.alike(sizes, 3) == [[0, 2, 3], [5], [1, 4]]


def test_images_that_cannot_be_read_are_left_out(root: Path, val: Segmented, out: Path) -> None:
    """Nor can they be tested when none is left, or no pixel is counted."""
    here = job(root, out)
    module = build(Encoder("resnet18"), TASK, 11)
    kept = {index: val.image_file(index).read_bytes() for index in range(5)}
    try:
        val.image_file(2).write_bytes(b"no picture")
        _, arrays = task.measure(here, module, val)
        assert arrays["images"].tolist() == [0, 1, 3, 4] and len(here.skipped) == 1
        for index in range(5):
            val.image_file(index).write_bytes(b"no picture")
        with pytest.raises(UserError, match="none of the images of val can be read"):
            task.measure(here, module, val)
    finally:
        for index, content in kept.items():
            val.image_file(index).write_bytes(content)


def test_masks_without_classes(tmp_path: Path, out: Path) -> None:
    root = scenes.make(tmp_path / "scenes", train=1, val=1, size=48)
    Image.fromarray(np.full((48, 48), 255, np.uint8)).save(open_segmentation(root, "val").mask_file(0))
    with pytest.raises(UserError, match="all pixels of val's masks are 255"):
        task.measure(job(root, out), build(Encoder("resnet18"), TASK, 11), open_segmentation(root, "val"))


def test_an_image_that_is_turned_away_from_its_mask(root: Path, tmp_path: Path) -> None:
    val = open_segmentation(scenes.make(tmp_path / "scenes", train=1, val=1, size=48), "val")
    wide, exif = Image.new("RGB", (60, 40)), Image.Exif()
    exif[0x0112] = 6
    wide.save(val.image_file(0), exif=exif)
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(val.mask_file(0))
    with pytest.raises(DecodeError, match="its EXIF block turns it"):
        val.read(0)
