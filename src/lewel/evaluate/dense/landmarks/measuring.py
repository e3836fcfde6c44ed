"""A trained network on the faces of val: its points in each image's own pixels, and their errors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lewel.evaluate.dense.fitting import Measured, predicted
from lewel.evaluate.dense.landmarks import metrics
from lewel.evaluate.dense.landmarks.geometry import moved, square
from lewel.evaluate.dense.landmarks.views import PlainView
from lewel.evaluate.dense.loading import Testing
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import FULL, Landmarked
from lewel.evaluate.job import Job

TEST_BATCH = 64

Arrays = dict[str, np.ndarray]


def measure(job: Job[Landmarked], module: nn.Module) -> Measured:
    """The `numbers` of val, and arrays: `images`, `predicted` (n, k, 2) in their pixels, and `errors`.

    Raises UserError where no image can be read.
    """
    task, val, size = job.protocol.task_as(Landmarks), job.data.val, job.image_size
    found, seen = list[Tensor](), list[Tensor]()
    for batch, points in predicted(job, module, Testing(val, PlainView(task, size)), TEST_BATCH):
        found.append(points.cpu())
        seen.append(batch.indices)
    images = torch.cat(seen).numpy()
    squares = (square(val.points[image], task.margin, size) for image in images)
    rows = zip(torch.cat(found).double().numpy(), squares, strict=True)
    there = np.stack([moved(xy, affine) for xy, affine in rows])
    arrays = {"images": images, "predicted": there, "errors": metrics.errors(there, val.points[images])}
    return numbers(val, arrays, task.threshold), arrays


def numbers(val: Landmarked, arrays: Arrays, threshold: float) -> dict[str, float]:
    """NME, failure_rate and AUC of all faces; NME of each subset too, where there are any, as NME_common."""
    errors, images = arrays["errors"], arrays["images"]
    found = {
        "NME": metrics.nme(errors),
        "failure_rate": metrics.failure_rate(errors, threshold),
        "AUC": metrics.auc(errors, threshold),
    }
    inside = {name: members[images] for name, members in val.subsets.items() if name != FULL}
    return found | {f"NME_{name}": metrics.nme(errors[where]) for name, where in inside.items() if where.any()}
