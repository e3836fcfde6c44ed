"""Segmentation: encoder and head trained together on crops, measured on whole images at their own size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from lewel.errors import UserError
from lewel.evaluate import training
from lewel.evaluate.dense import fitting
from lewel.evaluate.dense.loading import Testing, Training
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.model import FCN, build
from lewel.evaluate.dense.segmentation.views import CropView, WholeView
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented
from lewel.evaluate.job import Job, Values

Here = Job[Segmented]


def evaluate(job: Here) -> Values:
    """mIoU, pixel accuracy and mean accuracy after the last step, and the IoU of each class."""
    task, side = _numbers(job)
    train, val = job.data.train, job.data.val
    assert job.subject.encoder is not None
    torch.manual_seed(job.seed)
    module = build(job.subject.encoder, task, len(train.classes))
    views = Training(train, CropView(task, side), task.batch_size, job.seed)
    fit = fitting.fit(job, module, views, partial(measure, job, module, val), "mIoU")
    _, arrays = training.run(job, fit)
    counts = torch.from_numpy(arrays["confusion"]).sum(dim=0)
    yield from miou.numbers(counts).items()
    yield "per_class", dict(zip(val.classes, miou.iou(counts).tolist(), strict=True))


def measure(job: Here, module: FCN, val: Segmented) -> fitting.Measured:
    """The numbers of `miou`, and of each image its confusions.

    images: (n,) int64, those that can be read.  confusion: (n, classes, classes) int32, rows are the truth.
    Raises UserError where there are none, or no pixel is counted.
    """
    images, found = list[int](), list[Tensor]()
    for index, truth, predicted in _predicted(job, module, val):
        images.append(index)
        found.append(miou.confusion(predicted, truth, len(val.classes)))
    counts = torch.stack(found)
    if not counts.any():
        raise UserError("all pixels of val's masks are 255, not counted; give masks with classes in --data")
    return miou.numbers(counts.sum(dim=0)), {"images": np.array(images), "confusion": counts.int().numpy()}


class Case(NamedTuple):
    """An image of val with its truth and what was predicted. score: its own mIoU, in per cent."""

    name: str
    score: float
    image: Image.Image
    truth: UInt8[np.ndarray, "h w"]
    predicted: UInt8[np.ndarray, "h w"]


def cases(job: Here, module: FCN, val: Segmented, arrays: dict[str, np.ndarray], worst: int) -> Iterator[Case]:
    """The images whose own mIoU is the lowest, the worst first. arrays: of `measure`."""
    scores = miou.iou(torch.from_numpy(arrays["confusion"])).nanmean(dim=1).numpy()
    order = [place for place in np.argsort(scores, kind="stable") if np.isfinite(scores[place])][:worst]
    shown = val.subset(arrays["images"][order])
    for index, truth, predicted in _predicted(job, module, shown):
        image = shown.image(index)
        yield Case(shown.names[index], float(scores[order[index]]), image, truth.numpy(), predicted.numpy())


def _predicted(job: Here, module: FCN, val: Segmented) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of the images that can be read: which it is, the truth, and the prediction, at the image's own size."""
    for batch, found in fitting.predicted(job, module, Testing(val, WholeView(*_numbers(job)))):
        for index, target, scores in zip(batch.indices.tolist(), batch.targets, found, strict=True):
            yield index, target.values, module.classes_at(scores, tuple(target.values.shape)).cpu()


def _numbers(job: Here) -> tuple[Segmentation, int]:
    """The task, and the side of its crops in pixels."""
    task, side = job.protocol.task, job.protocol.image_size
    assert isinstance(task, Segmentation) and side is not None
    return task, side
