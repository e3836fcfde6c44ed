"""Detections go back to the pixels of the file that they were found in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from lewel.evaluate.dense.detection.found import found
from lewel.evaluate.dense.detection.objects import Detections
from lewel.evaluate.dense.detection.views import moved, resized


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (1000, 301)])
def test_boxes_go_there_and_back(size: tuple[int, int]) -> None:
    corners = np.random.default_rng(0).uniform(0, 1, (50, 2, 2)) * size
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    seen = resized(size, 80, 133)
    there = torch.from_numpy(moved(boxes, size, seen)).float()
    back = found(Detections(there, torch.rand(50), torch.arange(50), None), seen, size)
    np.testing.assert_allclose(back.boxes, boxes, atol=1e-3)
    assert back.masks is None and back.labels.tolist() == list(range(50))


def test_boxes_are_cut_at_the_border_and_those_outside_are_left_out() -> None:
    boxes = torch.tensor([[-5.0, 2, 8, 30], [12, 3, 20, 9]])
    masks = torch.ones(2, 4, 4)
    back = found(Detections(boxes, torch.tensor([0.5, 0.25]), torch.tensor([3, 4]), masks), (10, 20), (20, 40))
    assert back.boxes.tolist() == [[0, 4, 16, 40]] and back.scores.tolist() == [0.5] and back.labels.tolist() == [3]
    assert back.masks is not None
    assert coco.toBbox(back.masks[0]).tolist() == [0, 4, 16, 36]


def test_nothing_found_is_nothing() -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 28, 28))
    back = found(none, (10, 10), (30, 30))
    assert back.boxes.shape == (0, 4) and back.masks == ()
