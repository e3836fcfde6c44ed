"""What the dense tasks have in common when they train and are measured, on the engine of pretraining."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel.data.loader import EvaluationOrder
from lewel.engine.loop import place
from lewel.engine.precision import Precision
from lewel.engine.progress import Progress
from lewel.engine.schedule import Schedule, polynomial, steps, warmed_up
from lewel.errors import UserError
from lewel.evaluate import training
from lewel.evaluate.dense.loading import Examples, Stream, Testing, Training, batches
from lewel.evaluate.dense.tasks import Iterations
from lewel.evaluate.job import Job

SAVE_EVERY = 200  # steps
SAY_EVERY = 20  # images of val

Measured = tuple[dict[str, Any], dict[str, np.ndarray]]


def fit(
    job: Job[Any],
    module: nn.Module,
    views: Training,
    measure: Callable[[], Measured],
    rank_by: str,
    kinds: np.ndarray | None = None,
) -> training.Fit:
    """What `training.run` takes. The module is put on the job's device.

    kinds: (n,) of the images of train, such as wide or high; those of a batch are of one kind.
    measure: the numbers of val and the arrays to keep; before it, batch norm's statistics are taken anew.
    """
    task = job.protocol.task_as(Iterations)
    place(module, job.precision.device)
    images = len(job.data.train)
    stream = Stream(images, task.batch_size, task.iterations, job.seed, kinds=kinds)

    def batches_from(start: int) -> Generator[Examples]:
        return _batches(job, views, replace(stream, start_step=start))

    def measured() -> Measured:
        if task.precise_bn and task.norm == "batch":
            again = replace(stream, steps=task.precise_bn)
            with closing(_batches(job, views, again)) as found:
                retake_statistics(module, (inputs(batch) for batch in found), job.precision)
        return measure()

    return training.Fit(
        module,
        optimizer(module, task),
        schedule(task),
        training.Steps(
            task.iterations, images / task.batch_size, math.ceil(task.iterations / task.evaluations), SAVE_EVERY
        ),
        batches_from,
        inputs,
        measured,
        rank_by,
        result="last",
    )


def inputs(batch: Examples) -> tuple[Any, ...]:
    """What a task's module is called with."""
    return batch.pixels, batch.sizes, batch.targets


def predicted(job: Job[Any], module: nn.Module, views: Testing, batch_size: int = 1) -> Iterator[tuple[Examples, Any]]:
    """Batches of val and what the module predicts of each; afterwards it is in train mode again.

    Raises UserError where none of the images can be read.
    """
    images, seen, began = len(views.images), 0, time.perf_counter()
    predict: Callable[..., Any] = module.predict  # pyright: ignore[reportAssignmentType]  # of every task's module
    module.eval()
    order = EvaluationOrder(images, batch_size)
    with (
        closing(_batches(job, views, order)) as source,
        Progress(images, console=job.console, unit="image of val") as progress,
    ):
        for number, batch in enumerate(source):
            job.skip(batch.skipped)
            if len(batch.indices):
                with torch.no_grad(), job.precision.autocast():
                    found = predict(batch.pixels, batch.sizes)
                yield batch, found
            seen += len(batch.indices)
            progress.advance(done := min((number + 1) * batch_size, images))
            if number % SAY_EVERY == 0 or done == images:
                rate = done / (time.perf_counter() - began)
                progress.show({"step": done, "images_per_s": rate, "left_s": (images - done) / rate})
    module.train()
    if not seen:
        raise UserError("none of the images of val can be read; give others in --data")


@torch.no_grad()
def retake_statistics(module: nn.Module, batches: Iterable[tuple[Any, ...]], precision: Precision) -> None:
    """Batch norm's running statistics become the means over these batches' ("precise BN", Wu and Johnson 2021).

    Those of training lag behind the weights. The weights and the random numbers stay as they are.
    batches: what the module is called with, on its device.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # torch's word for the mean over all batches
    try:
        with torch.random.fork_rng([precision.device] if precision.device.type == "cuda" else []):
            for each in batches:
                with precision.autocast():
                    module(*each)
    finally:
        for part, momentum in zip(norms, momenta, strict=True):
            part.momentum = momentum


def optimizer(module: nn.Module, task: Iterations) -> torch.optim.Optimizer:
    """Of all that is trained; norms decay where the task says so."""
    norms = {
        parameter
        for part in module.modules()
        if isinstance(part, _BatchNorm | nn.GroupNorm) and not task.decay_norms
        for parameter in part.parameters(recurse=False)
    }
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each not in norms], "weight_decay": task.weight_decay},
        {"params": [each for each in trained if each in norms], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if task.optimizer == "adam":
        return torch.optim.Adam(groups, lr=task.lr)
    return torch.optim.SGD(groups, lr=task.lr, momentum=task.momentum)


def schedule(task: Iterations) -> Schedule:
    """The rate, step by step, as the protocol has it."""
    if task.milestones:
        rate = steps(task.lr, task.milestones, 1)
    else:
        rate = polynomial(task.lr, task.iterations, power=task.power, last=task.lr_last)
    return warmed_up(rate, task.warmup, task.warmup_factor)


def _batches(job: Job[Any], views: Training | Testing, orders: Iterable[Any]) -> Generator[Examples]:
    return batches(views, orders, job.workers, job.numbers(), job.precision.device)
