"""What is measured on whole images at their own size, the worst of them, and a job from end to end."""

from __future__ import annotations

from pathlib import Path

import little
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lewel.data import scenes
from lewel.data.decode import DecodeError
from lewel.errors import UserError
from lewel.evaluate import predictions
from lewel.evaluate.dense import gallery
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.cases import cases
from lewel.evaluate.dense.segmentation.measuring import measure
from lewel.evaluate.dense.segmentation.model import FCN, build
from lewel.evaluate.dense.segmentation.task import evaluate
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented, open_segmentation
from lewel.evaluate.job import Job
from lewel.evaluate.parts import Divided
from lewel.model.encoder import Encoder

TASK = Segmentation(
    lr=0.01, batch_size=2, iterations=4, weight_decay=5e-4, evaluations=2, model="fcn8", frame=(4.0, 1.0)
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scenes, two of val's in other sizes."""
    root = scenes.make(tmp_path / "scenes", train=5, val=5, size=48)
    val = open_segmentation(root, "val")
    for index, size in ((1, (60, 40)), (3, (33, 71))):
        val.image(index).resize(size).save(val.image_file(index))
        mask = Image.fromarray(val.mask(index)).resize(size, Image.Resampling.NEAREST)
        mask.save(val.mask_file(index))
    return root


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return little.encoder("resnet18")


def job(root: Path, directory: Path, encoder: Encoder) -> Job[Segmented]:
    train, val = open_segmentation(root, "train"), open_segmentation(root, "val")
    return little.job(TASK, little.subject(encoder), Divided(train, val, {}), directory)


class Knowing(FCN):
    """Says what it is told, in the order in which it is asked."""

    def __init__(self, answers: list[Tensor]) -> None:
        nn.Module.__init__(self)
        self.answers = iter(answers)

    def predict(self, images: Tensor, sizes: Tensor) -> list[Tensor]:
        assert len(images) == 1 and tuple(images.shape[2:]) == tuple(sizes[0].tolist())
        return [next(self.answers)]

    def classes_at(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        assert tuple(scores.shape) == size
        return scores


def test_perfect_predictions(root: Path, out: Path, encoder: Encoder) -> None:
    here = job(root, out, encoder)
    masks = [torch.from_numpy(here.data.val.mask(index)) for index in range(5)]
    module = Knowing([mask.where(mask != 255, 0) for mask in masks])
    numbers, arrays = measure(here, module)
    assert numbers == {"mIoU": 100.0, "pixel_accuracy": 100.0, "mean_class_accuracy": 100.0}
    assert arrays["images"].tolist() == [0, 1, 2, 3, 4] and arrays["confusion"].shape == (5, 11, 11)
    counts = np.array([np.bincount(mask.reshape(-1), minlength=256)[:11] for mask in masks])
    assert (arrays["confusion"].sum(axis=2) == counts).all() and arrays["confusion"].dtype == np.int32


def test_the_worst_come_first(root: Path, out: Path, encoder: Encoder) -> None:
    """Of each image a share is taken for the background, of image 3 the most; it is asked again for two."""
    here, random, answers = job(root, out, encoder), np.random.default_rng(0), list[Tensor]()
    for index, share in enumerate((0.1, 0.5, 0.0, 0.9, 0.3)):
        mask = here.data.val.mask(index)
        lost = random.random(mask.shape) < share
        answers.append(torch.from_numpy(np.where(lost | (mask == 255), 0, mask).astype(np.uint8)))
    module = Knowing([*answers, answers[3], answers[1]])
    _, arrays = measure(here, module)
    found = cases(here, module, arrays, 2)
    assert [each.name for each in found] == [here.data.val.names[3], here.data.val.names[1]]
    matrix = miou.confusion(answers[3], torch.from_numpy(here.data.val.mask(3)), 11)
    assert found[0].score == f"mIoU {miou.iou(matrix).nanmean():.1f}"
    assert {name for name, _ in found[0].legend} == {
        here.data.val.classes[value] for value in np.unique(here.data.val.mask(3)) if 0 < value < 255
    }


def test_a_job(root: Path, out: Path, encoder: Encoder) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    here = job(root, out, encoder)
    values = dict(evaluate(here))
    assert list(values) == ["mIoU", "pixel_accuracy", "mean_class_accuracy", "per_class_IoU"]
    assert tuple(values["per_class_IoU"]) == here.data.val.classes
    arrays = predictions.load(out / predictions.NAME)
    assert miou.numbers(torch.from_numpy(arrays["confusion"]).sum(dim=0))["mIoU"] == values["mIoU"]
    assert gallery.read(out)[0].name in here.data.val.names and len(gallery.read(out)) == 5
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert dict(evaluate(job(root, out.with_name("again"), encoder))) == values


def test_images_that_cannot_be_read_are_left_out(root: Path, out: Path, encoder: Encoder) -> None:
    """Nor can anything be tested when none is left."""
    here = job(root, out, encoder)
    module = build(encoder, TASK, 11)
    here.data.val.image_file(2).write_bytes(b"no picture")
    _, arrays = measure(here, module)
    assert arrays["images"].tolist() == [0, 1, 3, 4] and len(here.skipped) == 1 and module.training
    for index in range(5):
        here.data.val.image_file(index).write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the images of val can be read"):
        measure(here, module)


def test_masks_without_classes(tmp_path: Path, out: Path, encoder: Encoder) -> None:
    root = scenes.make(tmp_path / "scenes", train=1, val=1, size=48)
    Image.fromarray(np.full((48, 48), 255, np.uint8)).save(open_segmentation(root, "val").mask_file(0))
    with pytest.raises(UserError, match="all pixels of val's masks are 255"):
        measure(job(root, out, encoder), build(encoder, TASK, 11))


def test_a_mask_is_turned_with_its_image(root: Path) -> None:
    """Where it was made for the image as it is stored; one that was made for the upright image stays."""
    before, exif = open_segmentation(root, "val"), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = np.asarray(before.image(1))
    before.image(1).save(before.image_file(1), exif=exif, quality=100)
    stored = before.image(3).transpose(Image.Transpose.ROTATE_90)
    stored.save(before.image_file(3), exif=exif, quality=100)
    after = open_segmentation(root, "val")
    image, mask = after.read(1)
    assert image.size == after.sizes[1] == (40, 60) and np.array_equal(mask, np.rot90(before.mask(1), -1))
    assert np.abs(np.asarray(image).astype(int) - np.rot90(pixels, -1)).mean() < 5
    assert after.counts[1].tolist() == before.counts[1].tolist()
    image, mask = after.read(3)
    assert image.size == after.sizes[3] == (33, 71) and np.array_equal(mask, before.mask(3))
    assert list(after.warnings()) == ["val: 1 masks are turned as the EXIF block of their image turns that"]
    assert not list(before.warnings()) and not list(after.subset(np.array([1, 3])).warnings())


@pytest.mark.parametrize(("index", "orientation"), [(1, 3), (1, 2), (0, 6)])
def test_a_size_that_does_not_show_whether_the_mask_is_turned(root: Path, index: int, orientation: int) -> None:
    val, exif = open_segmentation(root, "val"), Image.Exif()
    exif[0x0112] = orientation
    val.image(index).save(val.image_file(index), exif=exif)
    with pytest.raises(UserError, match="does not show whether the mask is turned too"):
        open_segmentation(root, "val")


def test_an_image_that_changes_after_its_mask_was_read(root: Path) -> None:
    val = open_segmentation(root, "val")
    Image.new("RGB", (50, 50)).save(val.image_file(1))
    with pytest.raises(DecodeError, match="it is 50 x 50, its mask 60 x 40"):
        val.read(1)
    image, mask = val.read(0)
    assert image.size == (48, 48) and np.array_equal(mask, val.mask(0)) and val.path(0) == str(val.image_file(0))
