"""Segmentation: encoder and head trained together on crops, measured on whole images at their own size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from lewel.data.serving import Order
from lewel.errors import UserError
from lewel.evaluate.dense import loading
from lewel.evaluate.dense.loading import Examples, Stream, Testing, Training
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.model import FCN
from lewel.evaluate.dense.segmentation.views import CropView, WholeView, fitted
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import Segmented
from lewel.evaluate.job import Job
from lewel.model.modes import evaluating

TOGETHER = 8  # images of a size that are tested at once


def training_batches(job: Job, train: Segmented, start: int) -> Generator[Examples]:
    """From step `start` on."""
    task, side = _numbers(job)
    views = Training(train, CropView(task, side), task.batch_size, job.seed)
    order = Stream(len(train), task.batch_size, task.iterations, job.seed, start)
    return loading.batches(views, order, job.workers, job.numbers(), job.precision.device)


def measure(job: Job, module: FCN, val: Segmented) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The numbers of `miou`, and of each image its confusions.

    images: (n,) int64, those that can be read.  confusion: (n, classes, classes) int32, rows are the truth.
    Raises UserError where there are none, or no pixel is counted.
    """
    found = dict[int, torch.Tensor]()
    for index, truth, predicted in _predicted(job, module, val, range(len(val))):
        found[index] = miou.confusion(predicted, truth, len(val.classes))
    if not found:
        raise UserError("none of the images of val can be read; give others in --data")
    images = sorted(found)
    counts = torch.stack([found[index] for index in images])
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


def cases(job: Job, module: FCN, val: Segmented, arrays: dict[str, np.ndarray], worst: int) -> Iterator[Case]:
    """The images whose own mIoU is the lowest, the worst first. arrays: of `measure`."""
    scores = miou.iou(torch.from_numpy(arrays["confusion"])).nanmean(dim=1).numpy()
    order = [place for place in np.argsort(scores, kind="stable").tolist() if np.isfinite(scores[place])][:worst]
    indices = [int(arrays["images"][place]) for place in order]
    found = {index: maps for index, *maps in _predicted(job, module, val, indices)}
    for place, index in zip(order, indices, strict=True):
        if index in found:
            truth, predicted = (each.numpy() for each in found[index])
            yield Case(val.names[index], float(scores[place]), val.image(index), truth, predicted)


def alike(sizes: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Positions of equal sizes together, so many at once at most: nothing has to be filled up."""
    groups = defaultdict[tuple[int, int], list[int]](list)
    for place, size in enumerate(sizes):
        groups[size].append(place)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


@torch.no_grad()
def _predicted(
    job: Job, module: FCN, val: Segmented, indices: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Of those images that can be read: which it is, the truth, and the prediction, at the image's own size."""
    task, side = _numbers(job)
    seen = [fitted(val.sizes[index], side, task.base) for index in indices]
    orders: list[Order] = [(0, [indices[place] for place in group]) for group in alike(seen, TOGETHER)]
    views = Testing(val, WholeView(task, side))
    batches = loading.batches(views, orders, job.workers, job.numbers(), job.precision.device)
    with evaluating(module), closing(batches):
        for batch in batches:
            job.skipped.extend(skip for skip in batch.skipped if skip not in job.skipped)
            if not len(batch.indices):
                continue
            truths = [target.values for target in batch.targets]
            with job.precision.autocast():
                found = module.predict(batch.pixels, batch.sizes, [tuple(truth.shape) for truth in truths])
            yield from zip(batch.indices.tolist(), truths, (each.cpu() for each in found), strict=True)


def _numbers(job: Job) -> tuple[Segmentation, int]:
    """The task, and the side of its crops in pixels."""
    task, side = job.protocol.task, job.protocol.image_size
    assert isinstance(task, Segmentation) and side is not None
    return task, side
