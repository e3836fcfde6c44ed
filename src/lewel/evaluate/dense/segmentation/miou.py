"""Mean intersection over union, as VOC and mmsegmentation have it: counts of pixels over all images, then one division.

A class that neither truth nor prediction has anywhere has no IoU (nan), and one without truth no accuracy: they are
left out of the means. Pixels of 255 are not counted. All in per cent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lewel.evaluate import metrics
from lewel.evaluate.dense.truth.masks import IGNORED
from lewel.evaluate.intervals import OfSums, PerImage


def confusion(
    predicted: UInt8[Tensor, "h w"], truth: UInt8[Tensor, "h w"], classes: int
) -> Int[Tensor, "classes classes"]:
    """How many pixels of class i, the row, were taken for class j, the column."""
    counted = truth != IGNORED
    return metrics.confusion(predicted[counted].long(), truth[counted].long(), classes)


def iou(matrix: Int[Tensor, "*n classes classes"]) -> Float[Tensor, "*n classes"]:
    """Of each class; nan for one that is nowhere."""
    counts = matrix.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return 100 * both / (counts.sum(dim=-1) + counts.sum(dim=-2) - both)


def numbers(matrix: Int[Tensor, "classes classes"]) -> dict[str, Any]:
    """mIoU, pixel accuracy, and the mean of the classes' accuracies."""
    counts = matrix.double()
    return {
        "mIoU": iou(matrix).nanmean().item(),
        "pixel_accuracy": (100 * counts.trace() / counts.sum()).item(),
        "mean_class_accuracy": (100 * counts.diagonal() / counts.sum(dim=1)).nanmean().item(),
    }


def per_image(images: Int[np.ndarray, " n"], matrices: Int[np.ndarray, "n classes classes"]) -> dict[str, PerImage]:
    """The metrics of `numbers` as sums over images: of each class the right, the true and the predicted pixels."""
    right, true, predicted = (
        np.diagonal(matrices, axis1=1, axis2=2),
        matrices.sum(axis=2),
        matrices.sum(axis=1),
    )
    each = np.concatenate([right, true, predicted], axis=1).astype(np.float64)

    def metric(of: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]) -> OfSums:
        return OfSums(images.astype(np.int64), each, lambda sums: of(*np.split(sums, 3, axis=-1)))

    return {
        "mIoU": metric(lambda right, true, predicted: _mean(right, true + predicted - right)),
        "pixel_accuracy": metric(lambda right, true, _: 100 * right.sum(axis=-1) / true.sum(axis=-1)),
        "mean_class_accuracy": metric(lambda right, true, _: _mean(right, true)),
    }


def _mean(counts: Float[np.ndarray, "*n classes"], of: Float[np.ndarray, "*n classes"]) -> Any:
    """Mean over the classes of which there are some, in per cent."""
    there = of > 0
    return 100 * np.divide(counts, of, out=np.zeros(of.shape), where=there).sum(axis=-1) / there.sum(axis=-1)
