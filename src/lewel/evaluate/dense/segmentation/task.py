"""Segmentation: encoder and head trained together on crops, measured on whole images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from lewel.evaluate import training
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.loading import Training
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.cases import cases
from lewel.evaluate.dense.segmentation.measuring import measure
from lewel.evaluate.dense.segmentation.model import build, dilated
from lewel.evaluate.dense.segmentation.views import CropView
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented
from lewel.evaluate.intervals import PerImage
from lewel.evaluate.job import Job, Values
from lewel.evaluate.protocols import Protocol
from lewel.model.encoder import Encoder


def evaluate(job: Job[Segmented]) -> Values:
    """mIoU, pixel accuracy and mean accuracy after the last step, and the IoU of each class; None where it has none."""
    task, train, val = job.protocol.task_as(Segmentation), job.data.train, job.data.val
    assert job.subject.encoder is not None
    torch.manual_seed(job.seed)
    module = build(job.subject.encoder, task, len(train.classes))
    views = Training(train, CropView(task, job.image_size), task.batch_size, job.seed)
    _, arrays = training.run(job, fitting.fit(job, module, views, partial(measure, job, module), "mIoU"))
    gallery.write(job.directory, cases(job, module, arrays, gallery.WORST))
    counts = torch.from_numpy(arrays["confusion"]).sum(dim=0)
    yield from miou.numbers(counts).items()
    each = [value if math.isfinite(value) else None for value in miou.iou(counts).tolist()]
    yield "per_class_IoU", dict(zip(val.classes, each, strict=True))


def fits(encoder: Encoder, protocol: Protocol) -> None:
    """Raises UserError for an encoder that cannot be dilated."""
    dilated(encoder, protocol.task_as(Segmentation))


def per_image(arrays: Mapping[str, np.ndarray], protocol: Protocol) -> Mapping[str, PerImage]:
    """As `miou.per_image`."""
    return miou.per_image(arrays["images"], arrays["confusion"])
