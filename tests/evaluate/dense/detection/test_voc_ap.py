"""VOC's AP by hand, by counting one detection after another, and in the time that there is."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from lewel.evaluate.dense.detection.found import Found
from lewel.evaluate.dense.detection.voc_ap import OVERLAPS, precision
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated

NONE = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def image(boxes: list, labels: list[int] | None = None, difficult: list[bool] | None = None) -> Annotated:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    flags = np.array(difficult or [False] * len(rows), bool)
    numbers = np.array(labels or [0] * len(rows), np.int64)
    none = np.zeros(len(rows), bool)
    return Annotated("a", Path(), (100, 100), rows, numbers, none, flags, np.ones(len(rows)))


def annotations(images: list[Annotated], classes: int = 1) -> Annotations:
    return Annotations("", "val", tuple("abcdef"[:classes]), Images.of(images), (), 0)


def detections(boxes: list, scores: list[float], labels: list[int] | None = None) -> Found:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    return Found(rows, np.array(scores, np.float64), np.array(labels or [0] * len(rows), np.int64))


def at(number: int) -> list[float]:
    """One of many places that do not touch."""
    return [10.0 * number, 0, 10.0 * number + 8, 8]


def random_set(seed: int, images: int = 12, classes: int = 3) -> tuple[Annotations, list[Found]]:
    rng = np.random.default_rng(seed)
    shown, found = [], []
    for _ in range(images):
        k, m = rng.integers(0, 5), rng.integers(0, 9)
        corners = rng.uniform(0, 60, (k, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (k, 2))], axis=1)
        labels = rng.integers(0, classes, k)
        shown.append(image(boxes.tolist(), labels.tolist(), (rng.random(k) < 0.3).tolist()))
        corners = rng.uniform(0, 60, (m, 2))
        guesses = np.concatenate([corners, corners + rng.uniform(10, 40, (m, 2))], axis=1)
        guessed = rng.integers(0, classes, m)
        for place in range(m if k else 0):
            if rng.random() < 0.8:
                chosen = rng.integers(k)
                guesses[place], guessed[place] = boxes[chosen] + rng.normal(0, 3, 4), labels[chosen]
        found.append(Found(guesses, rng.random(m), guessed))
    return annotations(shown, classes), found


def one_after_another(truth: Annotations, found: list[Found], label: int, threshold: float) -> tuple[float, float]:
    """AP of a class as the development kit's text says it: by eleven points, and the area."""
    rows = [
        (score, number, box)
        for number, each in enumerate(found)
        for score, box, other in zip(each.scores.tolist(), each.boxes, each.labels.tolist(), strict=True)
        if other == label
    ]
    wanted = sum(int(((each.labels == label) & ~each.difficult).sum()) for each in truth.images)
    taken: set[tuple[int, int]] = set()
    right = wrong = 0
    points = []
    for _, number, box in sorted(rows, key=lambda row: -row[0]):
        shown, best, best_overlap = truth.images[number], None, -math.inf
        for place in np.flatnonzero(shown.labels == label).tolist():
            pair = (torch.from_numpy(rows)[None] for rows in (box, shown.boxes[place]))
            if (overlap := box_iou(*pair).item()) > best_overlap:
                best, best_overlap = place, overlap
        if best is not None and best_overlap >= threshold:
            if shown.difficult[best]:
                continue
            if (number, best) in taken:
                wrong += 1
            else:
                right += 1
                taken.add((number, best))
        else:
            wrong += 1
        points.append((right / wanted, right / (right + wrong)))
    eleven = [max((p for r, p in points if r >= t), default=0.0) for t in np.arange(0.0, 1.1, 0.1)]
    area, before = 0.0, 0.0
    for recall in sorted({r for r, _ in points}):
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return sum(eleven) / 11, area


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_counting_gives(seed: int) -> None:
    truth, found = random_set(seed)
    counted = precision(truth, found)
    for label in range(len(truth.classes)):
        for row in (0, 3, 5, 9):
            expected = [100 * value for value in one_after_another(truth, found, label, OVERLAPS[row])]
            np.testing.assert_allclose([counted.eleven[row, label], counted.area[row, label]], expected, rtol=1e-12)


def test_by_hand() -> None:
    """Two objects; right, wrong, right: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1."""
    truth = annotations([image([at(0), at(1)])])
    counted = precision(truth, [detections([at(0), at(5), at(1)], [0.9, 0.8, 0.7])])
    assert counted.eleven[0, 0] == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    assert counted.area[0, 0] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3))


@pytest.mark.parametrize(("hits", "counted"), [(2, 3), (3, 3), (4, 5), (5, 6), (6, 6), (7, 7), (8, 9), (10, 11)])
def test_recalls_are_compared_as_in_the_kit(hits: int, counted: int) -> None:
    """Of the eleven, 0.3, 0.6 and 0.7 are a last bit above 3/10, 6/10 and 7/10, which do not reach them."""
    truth = annotations([image([at(number) for number in range(10)])])
    found = precision(truth, [detections([at(number) for number in range(hits)], np.linspace(1, 0.5, hits).tolist())])
    assert found.eleven[0, 0] == pytest.approx(100 * counted / 11) and found.area[0, 0] == pytest.approx(10 * hits)


def test_the_second_that_finds_an_object_is_wrong() -> None:
    truth = annotations([image([at(0), at(1)])])
    once = precision(truth, [detections([at(0), at(1)], [0.9, 0.7])])
    twice = precision(truth, [detections([at(0), at(0), at(1)], [0.9, 0.8, 0.7])])
    assert once.area[0, 0] == 100 and twice.area[0, 0] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3))


def test_a_detection_belongs_to_the_object_it_overlaps_most_even_if_that_is_taken() -> None:
    """COCO would give the second one the other object."""
    truth = annotations([image([[0, 0, 10, 10], [0, 2, 10, 12]])])
    both = detections([[0, 0, 10, 10], [0, 0.5, 10, 10.5]], [0.9, 0.8])
    assert precision(truth, [both]).area[0, 0] == pytest.approx(50)


def test_difficult_objects_are_neither_right_nor_wrong() -> None:
    """Nor are those that find one a second time."""
    truth = annotations([image([at(0), at(1)], difficult=[True, False])])
    found = [detections([at(0), at(0), at(1)], [0.9, 0.8, 0.7])]
    assert precision(truth, found).area[0, 0] == 100
    assert precision(truth, [detections([at(0), at(0)], [0.9, 0.8])]).area[0, 0] == 0


def test_the_threshold_itself_is_enough() -> None:
    truth = annotations([image([[0, 0, 10, 10]])])
    counted = precision(truth, [detections([[0, 0, 10, 5]], [0.9])])
    assert counted.area[:, 0].tolist() == [100] + 9 * [0]


def test_perfect_detections_have_100() -> None:
    truth, _ = random_set(3, images=30)
    exact = [Found(each.boxes, np.linspace(1, 0.5, len(each)), each.labels) for each in truth.images]
    values = precision(truth, exact).values(truth.classes)
    for name in ("AP", "AP50", "AP75", "AP50_area"):
        assert values[name] == pytest.approx(100)
    assert values["per_class_AP"] == values["per_class_AP50"] == pytest.approx(dict.fromkeys(truth.classes, 100.0))


def test_means_are_of_classes_that_have_objects() -> None:
    truth = annotations([image([at(0), at(1)], labels=[0, 2], difficult=[False, True]), image([])], classes=3)
    values = precision(truth, [detections([at(0)], [0.5]), detections([at(0)], [0.9], labels=[1])]).values("abc")
    assert values["AP"] == values["AP50_area"] == 100
    assert values["per_class_AP"]["a"] == 100 and math.isnan(values["per_class_AP"]["b"] + values["per_class_AP"]["c"])
    assert precision(truth, [NONE, NONE]).values("abc")["AP50"] == 0
    assert math.isnan(precision(annotations([image([])]), [NONE]).values("a")["AP"])


@pytest.mark.slow
def test_the_test_set_of_2007() -> None:
    """4,952 images with 100 detections each, at ten overlaps."""
    truth, found = random_set(0, images=4952, classes=6)
    rng = np.random.default_rng(1)
    many = [
        Found(np.resize(each.boxes, (100, 4)), rng.random(100), np.resize(each.labels, 100))
        if len(each.labels)
        else each
        for each in found
    ]
    start = time.monotonic()
    precision(truth, many)
    print(f"{time.monotonic() - start:.1f} s")
    assert time.monotonic() - start < 60
