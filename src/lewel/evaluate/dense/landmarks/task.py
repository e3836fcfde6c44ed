"""`lewel evaluate landmarks`: encoder and heat maps trained together on faces, and measured on those of val."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial

import numpy as np
import torch

from lewel.evaluate import training
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.landmarks import metrics
from lewel.evaluate.dense.landmarks.cases import cases
from lewel.evaluate.dense.landmarks.measuring import measure, numbers
from lewel.evaluate.dense.landmarks.model import Regressor
from lewel.evaluate.dense.landmarks.views import ChangedView
from lewel.evaluate.dense.loading import Training
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import Landmarked
from lewel.evaluate.intervals import PerImage
from lewel.evaluate.job import Job, Values
from lewel.evaluate.protocols import Protocol


def evaluate(job: Job[Landmarked]) -> Values:
    """NME, failure_rate, AUC, and NME of each subset, after the last step. All in per cent."""
    task, train, val = job.protocol.task_as(Landmarks), job.data.train, job.data.val
    torch.manual_seed(job.seed)
    module = regressor(job, task)
    views = Training(train, ChangedView(task, job.image_size), task.batch_size, job.seed)
    _, arrays = training.run(job, fitting.fit(job, module, views, partial(measure, job, module), "NME"))
    gallery.write(job.directory, cases(val, arrays, gallery.WORST))
    yield from numbers(val, arrays, task.threshold).items()


def per_image(arrays: Mapping[str, np.ndarray], protocol: Protocol) -> Mapping[str, PerImage]:
    """As `metrics.per_image`."""
    return metrics.per_image(arrays["images"], arrays["errors"], protocol.task_as(Landmarks).threshold)


def regressor(job: Job[Landmarked], task: Landmarks) -> Regressor:
    """A copy of the encoder with a new head for the points of train."""
    assert job.subject.encoder is not None
    size = job.image_size
    encoder = deepcopy(job.subject.encoder).requires_grad_(True)
    encoder.freeze_unused(size)
    return Regressor(encoder, job.data.train.points.shape[1], size, task.norm)
