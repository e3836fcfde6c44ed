"""A box that is drawn into an image is where its target says, whatever was done to the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from lewel.data.decode import DecodeError
from lewel.evaluate.dense.detection.source import Photographs
from lewel.evaluate.dense.detection.views import TestView, TrainView, resized, targets
from lewel.evaluate.dense.loading import Source
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated

TRAIN = TrainView((96, 128, 160), 213)


def square(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1], np.float64)


def annotated(boxes: list[list[float]], size: tuple[int, int] = (200, 150), **changes: Any) -> Annotated:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    none = np.zeros(len(rows), bool)
    areas = (rows[:, 2:] - rows[:, :2]).prod(axis=1)
    plain = {"labels": np.arange(len(rows)), "crowd": none, "difficult": none, "areas": areas}
    return Annotated("a", Path("a.png"), size, rows, **(plain | changes))


def drawn(truth: Annotated) -> Image.Image:
    """White boxes on black."""
    image = Image.new("RGB", truth.size)
    for x0, y0, x1, y1 in truth.boxes.tolist():
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=(255, 255, 255))
    return image


def seen(pixels: torch.Tensor) -> np.ndarray:
    """Edges of the only white box, with parts of pixels: sums of grey through the middle of the box."""
    grey = pixels[0].double().numpy() / 255
    rows, columns = grey.max(axis=1), grey.max(axis=0)
    found = []
    for line in (columns / columns.max(), rows / rows.max()):
        middle = round(float(np.average(np.arange(len(line)), weights=line)))
        found.append((middle + 0.5 - line[: middle + 1].sum() + 0.5, middle + line[middle:].sum()))
    (x0, x1), (y0, y1) = found
    return np.array([x0, y0, x1, y1])


@pytest.mark.parametrize("box", [[30, 40, 90, 60], [0, 0, 20, 150], [101, 33, 200, 120], [150, 1, 199, 149]])
@pytest.mark.parametrize("size", [(200, 150), (203, 151), (151, 203)])
def test_boxes_are_where_they_are_seen(box: list[float], size: tuple[int, int]) -> None:
    truth = annotated([list(np.minimum(box, [*size, *size]))], size)
    for seed in range(12):
        example = TRAIN((drawn(truth), truth), np.random.default_rng(seed))
        np.testing.assert_allclose(seen(example.pixels), example.target.boxes[0].numpy(), atol=0.5)


def test_masks_lie_in_their_boxes_and_fill_them() -> None:
    """A polygon and run lengths of the same rectangle."""
    mask = np.zeros((150, 200), np.uint8)
    mask[40:60, 30:90] = 1
    counts = np.diff(np.flatnonzero(np.diff(mask.T.reshape(-1), prepend=0, append=0)), prepend=0)
    runs = {"size": [150, 200], "counts": [*counts.tolist(), mask.size - int(counts.sum())]}
    truth = annotated([[30, 40, 90, 60]] * 2, outlines=((square(30, 40, 90, 60),), runs))
    assert np.array_equal(truth.masks()[0], mask) and np.array_equal(truth.masks()[1], mask)
    for seed in range(12):
        example = TRAIN((drawn(truth), truth), np.random.default_rng(seed))
        assert example.target.masks.shape == (2, *example.pixels.shape[1:])
        for found, box in zip(example.target.masks, example.target.boxes.numpy(), strict=True):
            rows, columns = (np.flatnonzero(found.any(axis).numpy()) for axis in (1, 0))
            edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            np.testing.assert_allclose(edges, box, atol=1)
            assert found.sum() == (edges[2] - edges[0]) * (edges[3] - edges[1])
            white = example.pixels[0] > 127
            assert (white != found).sum() <= (edges[2] - edges[0] + edges[3] - edges[1]) * 2


def test_polygons_are_drawn_at_the_new_size_and_not_resized() -> None:
    truth = annotated([[10, 10, 50, 50]], (60, 60), outlines=((np.array([10.0, 10, 50, 10, 10, 50]),),))
    large = targets(truth, (600, 600), flip=False).masks
    assert large is not None
    steps = np.diff(large[0].sum(dim=1).numpy()[100:500].astype(int))
    assert np.abs(steps).max() <= 1  # a resized mask has steps of ten pixels


def test_a_view_is_a_function_of_its_random_numbers() -> None:
    truth = annotated([[30, 40, 90, 60], [5, 5, 190, 140]], outlines=((square(30, 40, 90, 60),),) * 2)
    image = drawn(truth)
    first, again = (TRAIN((image, truth), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.pixels, again.pixels)
    assert all(torch.equal(one, other) for one, other in zip(first.target, again.target, strict=True))
    sizes, flips = set(), set()
    for seed in range(40):
        example = TRAIN((image, truth), np.random.default_rng(seed))
        sizes.add(min(example.pixels.shape[1:]))
        flips.add(bool(example.target.boxes[0, 0] > example.pixels.shape[2] / 2))
    assert sizes == {96, 128, 160} and flips == {False, True}


@pytest.mark.parametrize(
    ("size", "shortest", "expected"),
    [
        ((500, 375), 800, (1067, 800)),
        ((375, 500), 480, (480, 640)),
        ((500, 333), 800, (1201, 800)),
        ((1000, 300), 800, (1333, 400)),
        ((300, 1000), 800, (400, 1333)),
        ((7, 2000), 800, (5, 1333)),
        ((3000, 1), 800, (1333, 1)),
    ],
)
def test_sizes_are_detectron2s(size: tuple[int, int], shortest: int, expected: tuple[int, int]) -> None:
    assert resized(size, shortest, 1333) == expected


def test_crowds_are_no_targets_and_difficult_objects_are() -> None:
    boxes = [[10.0, 10, 50, 50], [20, 20, 60, 60], [30, 30, 70, 70]]
    flags = np.eye(3, dtype=bool)
    truth = annotated(boxes, crowd=flags[0], difficult=flags[1], outlines=tuple((square(*box),) for box in boxes))
    found = targets(truth, truth.size, flip=False)
    assert found.labels.tolist() == [1, 2] and found.boxes.tolist() == boxes[1:]
    assert found.masks is not None and found.masks.sum(dim=(1, 2)).tolist() == [1600, 1600]


def test_images_without_objects_have_empty_targets() -> None:
    truth = annotated([], outlines=())
    found = TRAIN((drawn(truth), truth), np.random.default_rng(0))
    height, width = found.pixels.shape[1:]
    assert found.target.boxes.shape == (0, 4) and found.target.labels.shape == (0,)
    assert found.target.masks.shape == (0, height, width)


def test_boxes_without_area_are_left_out() -> None:
    truth = annotated([[10, 10, 10 + 1e-6, 50], [10, 10, 20, 50]], outlines=None)
    assert targets(truth, (100, 75), flip=True).labels.tolist() == [1]


def test_sizes_of_the_protocol() -> None:
    numbers = {"lr": 0.02, "batch_size": 16, "iterations": 24000, "weight_decay": 1e-4}
    task = Detection(
        **numbers, data="voc", model="c4", masks=False, shortest=tuple(s / 800 for s in range(480, 801, 32))
    )
    assert TrainView.of(task, 800) == TrainView(tuple(range(480, 801, 32)), 1333)
    view = TestView.of(task, 800)
    image = Image.new("RGB", (500, 375))
    assert view((image, annotated([], (500, 375))), np.random.default_rng(0)).pixels.shape == (3, 800, 1067)


def test_the_source_reads_images_with_their_objects(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate([(20, 10), (10, 20), (10, 10)]):
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / f"{number}.png")
        files.append(Annotated(**{**vars(annotated([[1, 1, 5, 5]], size)), "path": tmp_path / f"{number}.png"}))
    source = Photographs(Annotations("r", "train", ("a",), Images.of(files), (), 0))
    assert isinstance(source, Source) and len(source) == 3 and source.kinds.tolist() == [1, 0, 0]
    image, truth = source.read(1)
    assert image.getpixel((0, 0)) == (1, 0, 0) and truth.path == files[1].path and truth.size == (10, 20)
    assert source.path(2) == str(tmp_path / "2.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    with pytest.raises(DecodeError, match=r"1\.png: it is 9 x 9, its annotations are for 10 x 20"):
        source.read(1)
