"""What a network makes of whole images, at their own size, and the numbers of that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from lewel.errors import UserError
from lewel.evaluate.dense import fitting
from lewel.evaluate.dense.loading import Testing
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.model import FCN
from lewel.evaluate.dense.segmentation.views import WholeView
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented
from lewel.evaluate.job import Job


class Predicted(NamedTuple):
    """The image's index, and the classes of its pixels, on the CPU."""

    image: int
    truth: UInt8[Tensor, "h w"]
    classes: UInt8[Tensor, "h w"]


def measure(job: Job[Segmented], module: FCN) -> fitting.Measured:
    """The numbers of `miou` on val, and of each image its confusions.

    images: (n,) int64, those that can be read.  confusion: (n, classes, classes) int32, rows are the truth.
    Raises UserError where there are none, or no pixel is counted.
    """
    val, images, found = job.data.val, list[int](), list[Tensor]()
    for index, truth, classes in predicted(job, module, val):
        images.append(index)
        found.append(miou.confusion(classes, truth, len(val.classes)))
    counts = torch.stack(found)
    if not counts.any():
        raise UserError("all pixels of val's masks are 255, not counted; give masks with classes in --data")
    return miou.numbers(counts.sum(dim=0)), {"images": np.array(images), "confusion": counts.int().numpy()}


def predicted(job: Job[Segmented], module: FCN, images: Segmented) -> Iterator[Predicted]:
    """Those images that can be read, in their order."""
    views = Testing(images, WholeView(job.protocol.task_as(Segmentation), job.image_size))
    for batch, found in fitting.predicted(job, module, views):
        for index, target, scores in zip(batch.indices.tolist(), batch.targets, found, strict=True):
            size = (target.values.shape[0], target.values.shape[1])
            yield Predicted(index, target.values.cpu(), module.classes_at(scores, size).cpu())
