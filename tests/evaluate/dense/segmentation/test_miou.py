"""mIoU against a count by hand and scikit-learn's, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score
from torch import Tensor

from lewel.evaluate.dense.segmentation import miou

CLASSES = 21


def noisy(seed: int) -> tuple[Tensor, Tensor]:
    """Prediction and truth of 50 x 60; a third is right, a tenth is not counted, and class 7 is nowhere."""
    random = np.random.default_rng(seed)
    present = np.array([each for each in range(CLASSES) if each != 7], np.uint8)
    truth, predicted = random.choice(present, (50, 60)), random.choice(present, (50, 60))
    predicted = np.where(random.random((50, 60)) < 1 / 3, truth, predicted)
    truth[random.random((50, 60)) < 0.1] = 255
    return torch.from_numpy(predicted), torch.from_numpy(truth)


def total(seeds: range) -> Tensor:
    return torch.stack([miou.confusion(*noisy(seed), CLASSES) for seed in seeds]).sum(dim=0)


def test_noise_by_hand_and_by_scikit_learn() -> None:
    maps = [noisy(seed) for seed in range(5)]
    predicted, truth = (torch.stack(each).ravel().tolist() for each in zip(*maps, strict=True))
    pairs = [pair for pair in zip(truth, predicted, strict=True) if pair[0] != 255]
    by_hand = []
    for each in range(CLASSES):
        both, either = pairs.count((each, each)), sum(each in pair for pair in pairs)
        by_hand.append(100 * both / either if either else math.nan)
    matrix = total(range(5))
    assert np.array_equal(miou.iou(matrix).numpy(), np.array(by_hand), equal_nan=True) and math.isnan(by_hand[7])
    found, (true, predicted) = miou.numbers(matrix), zip(*pairs, strict=True)
    assert found["mIoU"] == pytest.approx(100 * jaccard_score(true, predicted, average="macro"), abs=1e-11)
    assert found["pixel_accuracy"] == pytest.approx(100 * accuracy_score(true, predicted), abs=1e-11)
    assert found["mean_class_accuracy"] == pytest.approx(100 * balanced_accuracy_score(true, predicted), abs=1e-11)


def test_perfect_predictions_are_100() -> None:
    _, truth = noisy(0)
    found = miou.numbers(miou.confusion(truth.where(truth != 255, 3), truth, CLASSES))
    assert found == {"mIoU": 100.0, "pixel_accuracy": 100.0, "mean_class_accuracy": 100.0}


def test_a_class_that_is_only_predicted_is_wrong() -> None:
    """It has an IoU of 0, which counts, and no accuracy, which does not."""
    truth = torch.zeros(4, 4, dtype=torch.uint8)
    predicted = truth.clone()
    predicted[0, 0] = 2
    matrix = miou.confusion(predicted, truth, 3)
    assert miou.iou(matrix).nan_to_num(-1).tolist() == [100 * 15 / 16, -1, 0]
    assert miou.numbers(matrix) == {"mIoU": 46.875, "pixel_accuracy": 93.75, "mean_class_accuracy": 93.75}


def test_images_are_summed_before_they_are_divided() -> None:
    each = torch.stack([miou.confusion(*noisy(seed), CLASSES) for seed in range(3)])
    assert torch.equal(miou.iou(each)[1].nan_to_num(-1), miou.iou(each[1]).nan_to_num(-1))
    assert miou.numbers(each.sum(dim=0))["mIoU"] != pytest.approx(miou.iou(each).nanmean().item(), abs=1e-6)
