"""Detections go back to the pixels of the file that they were found in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from torch.nn import functional

from lewel.evaluate.dense.detection.found import found, pasted
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


def test_masks_are_sampled_as_detectron2_samples_them() -> None:
    """torch's grid_sample over the whole image, at the centres of its pixels."""
    rng = np.random.default_rng(1)
    width, height = 61, 47
    for _ in range(30):
        cells = rng.uniform(0, 1, (28, 28)).astype(np.float32)
        (x0, x1), (y0, y1) = (np.sort(rng.uniform(0, side, 2)) for side in (width, height))
        xs = (torch.arange(width) + 0.5 - x0) / (x1 - x0) * 2 - 1
        ys = (torch.arange(height) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)[None].double()
        expected = functional.grid_sample(torch.from_numpy(cells)[None, None].double(), grid, align_corners=False)[0, 0]
        assert np.array_equal(pasted(cells, np.array([x0, y0, x1, y1]), (width, height)), expected.numpy() >= 0.5)


def test_nothing_found_is_nothing() -> None:
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 28, 28))
    back = found(none, (10, 10), (30, 30))
    assert back.boxes.shape == (0, 4) and back.masks == ()
