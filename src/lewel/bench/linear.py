"""`lewel bench linear`: an epoch of linear evaluation, its grid of classifiers and all, against the bare encoder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lewel.bench.compare import Contender, Result, interleaved
from lewel.bench.data import images_of
from lewel.config import LinearEpoch
from lewel.console import Console
from lewel.data.images import Source
from lewel.data.workers import default_workers
from lewel.engine import precision
from lewel.engine.loop import place
from lewel.evaluate import features, linear
from lewel.evaluate.cache import FeatureCache
from lewel.evaluate.changes import get_protocol
from lewel.evaluate.job import Job
from lewel.evaluate.order import Epochs
from lewel.evaluate.parts import Divided, Labelled
from lewel.evaluate.subject import open_subject
from lewel.evaluate.tasks import Linear
from lewel.model.modes import evaluating

VAL = 64  # images; evaluated once in the epoch


def measure(options: LinearEpoch) -> list[Result]:
    """Images a second of linear-byol: the encoder alone over the crops, one classifier, and the grid."""
    on = precision.choose(options.precision, precision.device(options.device))
    workers = default_workers(on.device) if options.workers is None else options.workers
    base = replace(get_protocol("linear-byol"), image_size=options.image_size)
    epoch = replace(base.task_as(Linear), epochs=1, milestones=())
    one = replace(epoch, rates=(1.0,), decays=(epoch.weight_decay,))
    subject, count = open_subject(f"random:{options.encoder}"), options.images
    subject.data(options.image_size)
    place(subject.features, on.device)
    with images_of(options.data, count) as images:
        few = images.subset(np.arange(min(VAL, count)))
        data = Divided(_labelled(images, options.classes), _labelled(few, options.classes), {})

        def job(task: Linear, directory: Path) -> Job:
            return Job(
                replace(base, task=task),
                subject,
                data,
                0,
                directory,
                on,
                workers,
                Console(quiet=True),
                [],
                FeatureCache(),
            )

        grid = len(linear.grid(epoch))
        contenders = {
            "the encoder alone": lambda: _bare(job(epoch, Path())),
            "linear-byol, 1 classifier": _epoch(job, one),
            f"linear-byol, {grid} classifiers": _epoch(job, epoch),
        }
        return interleaved(
            [Contender(name, work, count) for name, work in contenders.items()], options.rounds, warm_up=1
        )


def _bare(job: Job) -> None:
    network, task = job.subject.features, job.protocol.task_as(Linear)
    with evaluating(network):
        for batch in linear.batches(job, Epochs(len(job.data.train), task.batch_size, 1, 0)):
            features.encode(network, batch, job.precision, job.data.train.images)


def _epoch(job: Callable[[Linear, Path], Job], task: Linear) -> Callable[[], object]:
    def work() -> object:
        with tempfile.TemporaryDirectory() as directory:
            return dict(linear.evaluate(job(task, Path(directory))))

    return work


def _labelled(images: Source, classes: int) -> Labelled:
    names = tuple(f"class {number}" for number in range(classes))
    return Labelled(images, np.arange(len(images), dtype=np.int64) % classes, names)
