"""Mean intersection over union, as VOC and mmsegmentation have it: counts of pixels over all images, then one division.

A class that neither truth nor prediction has anywhere has no IoU (nan), and one without truth no accuracy: they are
left out of the means. Pixels of 255 are not counted. All in per cent.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lewel.evaluate import metrics
from lewel.evaluate.dense.truth.masks import IGNORED


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
        "mean_class_accuracy": metrics.mean_per_class(matrix),
    }
