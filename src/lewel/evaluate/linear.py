"""Linear classification on a frozen encoder: the protocol's classifier and a grid of others, in one pass over the data.

The encoder is in eval mode, gets no gradient and is no part of what is trained; each augmented crop is encoded once for
all classifiers. They start from the same weights and none sees another's gradient, so that each ends as it would alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lewel.data import loader
from lewel.engine.optim import LARS
from lewel.evaluate import features, training
from lewel.evaluate.classification import Outcome, mean_in_parts, rows_at_once
from lewel.evaluate.job import Job, Values
from lewel.evaluate.order import Epochs
from lewel.evaluate.tasks import Linear
from lewel.evaluate.views import CROPS
from lewel.model.modes import evaluating
from lewel.shapes import Batch

LARGEST_LOGIT = 1e4  # far beyond any classifier that learns; one that runs away stops there, alone
CHUNK = 4096  # images of val whose logits are in memory at the same time, at most


class Setting(NamedTuple):
    """A classifier of the grid: its rate as a share of the protocol's, and its weight decay."""

    rate: float
    decay: float


class Classifiers(nn.Module):
    """h linear classifiers of n classes over the same features, from the same N(0, 0.01) weights and zero biases."""

    def __init__(self, width: int, classes: int, count: int) -> None:
        super().__init__()
        first = torch.empty(classes, width).normal_(0, 0.01)
        self.weights = nn.ParameterList(first.clone() for _ in range(count))
        self.biases = nn.ParameterList(torch.zeros(classes) for _ in range(count))

    @property
    def scores(self) -> int:
        """Of all classifiers together, for an image."""
        return sum(map(len, self.biases))

    def logits(self, features: Float[Tensor, "b c"]) -> Float[Tensor, "b h n"]:
        return self._logits(features, *self._stacked())

    def forward(
        self, features: Float[Tensor, "b c"], labels: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Any]]:
        """The sum of the classifiers' mean cross-entropies; `out["loss"]` is that of the first, the protocol's."""
        with torch.autocast(features.device.type, enabled=False):
            stacked = self._stacked()

            def mean(rows: Tensor, labels: Tensor) -> Float[Tensor, " h"]:
                logits = self._logits(rows, *stacked)
                repeated = labels[:, None].expand(-1, logits.shape[1])
                losses = functional.cross_entropy(logits.flatten(0, 1), repeated.flatten(), reduction="none")
                return losses.unflatten(0, repeated.shape).mean(dim=0)

            losses = mean_in_parts(mean, features, labels, self.scores)
        return losses.sum(), {"loss": losses.detach()[0]}

    def _stacked(self) -> tuple[Float[Tensor, "hn c"], Float[Tensor, " hn"]]:
        return torch.cat(list(self.weights)), torch.cat(list(self.biases))

    def _logits(
        self, features: Float[Tensor, "b c"], weights: Float[Tensor, "hn c"], biases: Float[Tensor, " hn"]
    ) -> Float[Tensor, "b h n"]:
        whole = functional.linear(features, weights, biases)
        return whole.clamp(-LARGEST_LOGIT, LARGEST_LOGIT).unflatten(1, (len(self.weights), -1))


def evaluate(job: Job) -> Values:
    """The protocol's own classifier at its best evaluation, as published, and beside it the best of the grid on val."""
    task, train, val = job.protocol.task_as(Linear), job.data.train, job.data.val
    device, settings = job.precision.device, grid(task)
    rows, seen = job.features(val)
    truth = val.labels_of(seen)
    torch.manual_seed(job.seed)
    classifiers = Classifiers(rows.shape[1], len(train.names), len(settings)).to(device)

    def measure() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        outcome, top1 = _outcome(classifiers, rows, truth, seen)
        return {"top1": top1[0], "top5": outcome.top(5), "grid": top1}, outcome.arrays()

    order = Epochs(len(train), task.batch_size, task.epochs, job.seed)
    network, images = job.subject.features, train.images
    with evaluating(network):
        fit = training.Fit(
            classifiers,
            optimizer(classifiers, task, settings),
            training.schedule(task, order.steps_per_epoch),
            training.in_epochs(task, order.steps_per_epoch),
            lambda start: batches(job, replace(order, start_step=start)),
            lambda batch: (
                features.encode(network, batch, job.precision, images),
                train.labels_of(batch.indices).to(device),
            ),
            measure,
            "top1",
        )
        evaluations, best = training.run(job, fit)
    yield from Outcome(**best).values(val.names)
    yield "top1_last", evaluations[-1]["top1"]
    yield from _of_the_grid(task, settings, [row["grid"] for row in evaluations])


def grid(task: Linear) -> list[Setting]:
    """The protocol's own setting, then the others."""
    own = Setting(1.0, task.weight_decay)
    return [own, *(each for each in map(Setting._make, product(task.rates, task.decays)) if each != own)]


def optimizer(classifiers: Classifiers, task: Linear, settings: Sequence[Setting]) -> torch.optim.Optimizer:
    """One group a classifier, its rate in `lr_scale`."""
    groups = [
        {"params": [weight, bias], "lr_scale": setting.rate, "weight_decay": setting.decay}
        for setting, weight, bias in zip(settings, classifiers.weights, classifiers.biases, strict=True)
    ]
    if task.optimizer == "lars":
        return LARS(groups, task.lr, momentum=task.momentum, rate_inside=False)
    return torch.optim.SGD(groups, task.lr, momentum=task.momentum)


def batches(job: Job, order: Epochs) -> Generator[Batch]:
    """Random crops and flips of the images for training, from the order's first step on."""
    data = job.numbers(CROPS)
    views = loader.TrainViews(job.data.train.images, data, job.seed)
    return loader.in_order(views, order, job.workers, data.mean, data.std, job.precision.device)


@torch.no_grad()
def _outcome(
    classifiers: Classifiers, rows: Float[Tensor, "n c"], truth: Int[Tensor, " n"], images: Int[Tensor, " n"]
) -> tuple[Outcome, list[float]]:
    """The first classifier's outcome, and the top-1 of each."""
    right, first = 0, []
    size = min(CHUNK, rows_at_once(classifiers.scores))
    for part, labels, image in zip(rows.split(size), truth.split(size), images.split(size), strict=True):
        logits = classifiers.logits(part)
        right += (logits.argmax(dim=2) == labels[:, None]).sum(dim=0)
        first.append(Outcome.of(logits[:, 0], labels, image))
    assert isinstance(right, Tensor)
    return Outcome.joined(first), [100 * count / len(rows) for count in right.tolist()]


def _of_the_grid(task: Linear, settings: Sequence[Setting], evaluations: Sequence[Sequence[float]]) -> Values:
    best = [max(column) for column in zip(*evaluations, strict=True)]
    yield "best_of_grid_top1", max(best)
    yield (
        "grid",
        [
            {"lr": task.lr * each.rate, "weight_decay": each.decay, "top1": top1}
            for each, top1 in zip(settings, best, strict=True)
        ],
    )
