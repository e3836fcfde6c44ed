"""Fine-tuning: encoder and head together, batch norm in train mode, on all labels or on a share of them.

Semi-supervised classification, expressions and attributes are this with other numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from lewel.data import loader
from lewel.data.loader import EvaluationOrder
from lewel.data.serving import Views
from lewel.engine.loop import place
from lewel.errors import UserError
from lewel.evaluate import classification, metrics, training
from lewel.evaluate.classification import Outcome
from lewel.evaluate.face_views import FaceViews
from lewel.evaluate.intervals import Mean, PerImage
from lewel.evaluate.job import Job, Values
from lewel.evaluate.order import Epochs
from lewel.evaluate.parts import Labelled
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.tasks import Finetune
from lewel.evaluate.views import CROPS
from lewel.model import batchnorm
from lewel.model.encoder import Encoder
from lewel.shapes import Batch

HIDDEN = (512, 256)  # of the head for attributes
DROPOUT = 0.2
TEST_BATCH = 256


class Classifier(nn.Module):
    """Head over the encoder's mean features; cross-entropy of classes, binary cross-entropy of attributes."""

    def __init__(self, encoder: Encoder, head: nn.Module, multilabel: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.multilabel = encoder, head, multilabel

    def logits(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n"]:
        return self.head(self.encoder(pixels).mean(dim=(2, 3))).float()

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], targets: Shaped[Tensor, "b ..."]
    ) -> tuple[Float[Tensor, ""], dict[str, Any]]:
        logits = self.logits(pixels)
        if self.multilabel:
            return functional.binary_cross_entropy_with_logits(logits, targets.float()), {}
        return functional.cross_entropy(logits, targets), {}


def evaluate(job: Job) -> Values:
    """Top-1 and top-5, or the mean accuracy over attributes, of the best evaluation, as published; and of the last."""
    task, train, val = job.protocol.task_as(Finetune), job.data.train, job.data.val
    torch.manual_seed(job.seed)
    module = classifier(job, task, len(train.names))
    place(module, job.precision.device)
    groups = training.bn_groups(task)
    classes = train.targets if task.balanced else None
    order = Epochs(
        len(train),
        task.batch_size,
        task.epochs,
        job.seed,
        multiple=groups,
        least=training.LEAST_FOR_BN * groups,
        classes=classes,
    )
    fit = training.Fit(
        module,
        optimizer(module, task),
        training.schedule(task, order.steps_per_epoch),
        training.in_epochs(task, order.steps_per_epoch),
        lambda start: _batches(job, train, replace(order, start_step=start), augmented=True),
        lambda batch: (batch.views[0].pixels, train.labels_of(batch.indices).to(job.precision.device)),
        partial(_attributes if task.multilabel else _classes, job, module, val),
        rank_by := "mean_accuracy" if task.multilabel else "top1",
    )
    evaluations, best = training.run(job, fit)
    if task.multilabel:
        right = 100 * (best["predicted"] == best["targets"]).mean(axis=0)
        yield "mean_accuracy", float(right.mean())
        yield "per_attribute", dict(zip(val.names, right.tolist(), strict=True))
    else:
        yield from Outcome(**best).values(val.names)
    yield f"{rank_by}_last", evaluations[-1][rank_by]


def per_image(arrays: Mapping[str, np.ndarray], protocol: Protocol) -> Mapping[str, PerImage]:
    """Of an outcome, or of attributes: the share of an image's attributes that are right."""
    if "rank" in arrays:
        return classification.per_image(arrays, protocol)
    right = (arrays["predicted"] == arrays["targets"]).mean(axis=1)
    return {"mean_accuracy": Mean.of(100 * right, arrays["images"], bounds=(0, 100))}


def classifier(job: Job, task: Finetune, outputs: int) -> Classifier:
    """A copy of the encoder with a new head."""
    assert job.subject.encoder is not None
    encoder = deepcopy(job.subject.encoder).requires_grad_(True)
    encoder.freeze_unused(job.image_size)
    head = make_head(job.subject.width, outputs, task)
    module = batchnorm.convert(Classifier(encoder, head, task.multilabel), training.bn_groups(task))
    assert isinstance(module, Classifier)
    return module


def make_head(width: int, outputs: int, task: Finetune) -> nn.Module:
    """The protocol's head, with its own first weights."""
    if task.head == "mlp":
        sizes = [width, *HIDDEN]
        hidden = [
            nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.Dropout(DROPOUT), nn.ReLU())
            for a, b in zip(sizes, HIDDEN, strict=False)
        ]
        return nn.Sequential(*hidden, nn.Linear(HIDDEN[-1], outputs))
    head = nn.Linear(width, outputs)
    if task.head_init == "normal":
        nn.init.normal_(head.weight, 0, 0.01)
        nn.init.zeros_(head.bias)
    return head


def optimizer(module: Classifier, task: Finetune) -> torch.optim.Optimizer:
    """Two groups: the encoder at its own rate, and the head; all tensors decay."""
    encoder = [parameter for parameter in module.encoder.parameters() if parameter.requires_grad]
    groups = [{"params": encoder, "lr_scale": task.lr_encoder / task.lr}, {"params": list(module.head.parameters())}]
    if task.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=task.lr, weight_decay=task.weight_decay)
    return torch.optim.SGD(groups, lr=task.lr, momentum=task.momentum, weight_decay=task.weight_decay)


def _batches(job: Job, part: Labelled, order: Epochs | EvaluationOrder, augmented: bool) -> Generator[Batch]:
    task = job.protocol.task_as(Finetune)
    data = job.numbers(CROPS)
    face = task.views == "face"
    views: Views
    if not augmented:
        views = loader.CentralViews(part.images, data.image_size, whole=face)
    elif face:
        views = FaceViews(part.images, data.image_size, data.mean, job.seed, task.erase)
    else:
        views = loader.TrainViews(part.images, data, job.seed)
    return loader.in_order(views, order, job.workers, data.mean, data.std, job.precision.device)


@torch.no_grad()
def _logits(
    job: Job, module: Classifier, val: Labelled
) -> Iterator[tuple[Float[Tensor, "b outputs"], Shaped[Tensor, "b ..."], Int[Tensor, " b"]]]:
    """Batches of the images of val that can be read: logits, targets and which they are, all on the CPU.

    Afterwards the module is in train mode again. Raises UserError where none of the images can be read.
    """
    seen = 0
    module.eval()
    with closing(_batches(job, val, EvaluationOrder(len(val), TEST_BATCH), augmented=False)) as source:
        for batch in source:
            job.skip(batch.skipped)
            if len(batch.indices):
                with job.precision.autocast():
                    logits = module.logits(batch.views[0].pixels).cpu()
                yield logits, val.labels_of(batch.indices).cpu(), batch.indices.cpu()
            seen += len(batch.indices)
    module.train()
    if not seen:
        raise UserError("none of the images of val can be read; give others in --data")


def _classes(job: Job, module: Classifier, val: Labelled) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    outcome = Outcome.joined(Outcome.of(*each) for each in _logits(job, module, val))
    return {"top1": outcome.top(1), "top5": outcome.top(5)}, outcome.arrays()


def _attributes(job: Job, module: Classifier, val: Labelled) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    logits, truth, indices = (torch.cat(each) for each in zip(*_logits(job, module, val), strict=True))
    arrays = {"images": indices, "targets": truth.bool(), "predicted": logits > 0}
    return {"mean_accuracy": metrics.mean_attributes(logits, truth.bool())}, {k: v.numpy() for k, v in arrays.items()}
