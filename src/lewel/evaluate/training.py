"""Evaluations that train, on the engine of pretraining: its loop, its checkpoints, its record.

A job that was stopped goes on from its last checkpoint and ends with the same numbers, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lewel.engine import checkpoint, files
from lewel.engine.background import Background
from lewel.engine.identity import Identity
from lewel.engine.loop import Step, train
from lewel.engine.progress import Progress
from lewel.engine.record import Record
from lewel.engine.schedule import Schedule, steps, warmup_cosine
from lewel.engine.signals import Interrupted, StopRequest
from lewel.engine.state import Training
from lewel.evaluate.job import Job
from lewel.evaluate.protocols import Finetune, Linear
from lewel.evaluate.results import PREDICTIONS
from lewel.shapes import Batch

LOG_STEPS = 20
LEAST_STEPS = 100  # between checkpoints, in whole epochs
BEST = "best"  # directory: arrays of each evaluation that was the best so far, by step


@dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how it is measured.

    batches: from a step to the batches from there on.   to_inputs: batch -> the module's inputs.
    measure: () -> the numbers of an evaluation, with `rank_by` among them, and arrays to keep if it is the best so far.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    steps_per_epoch: int
    batches: Callable[[int], Generator[Batch]]
    to_inputs: Callable[[Batch], tuple[Any, ...]]
    measure: Callable[[], tuple[dict[str, Any], dict[str, np.ndarray]]]
    rank_by: str


def schedule(task: Linear | Finetune, steps_per_epoch: int) -> Schedule:
    """The rate of the head, step by step, as the protocol has it."""
    if task.milestones:
        return steps(task.lr, task.milestones, steps_per_epoch)
    if isinstance(task, Linear):
        return warmup_cosine(task.lr, task.epochs, steps_per_epoch)
    return warmup_cosine(
        task.lr, task.epochs, steps_per_epoch, warmup_epochs=task.warmup_epochs, decay_per="step", last=task.lr_last
    )


def run(job: Job, fit: Fit) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Train to the end, or go on. Returns the evaluations in their order, and the arrays of the best.

    Raises Interrupted when asked to stop, after a checkpoint.
    """
    task = job.protocol.task
    assert isinstance(task, Linear | Finetune)
    total = task.epochs * fit.steps_per_epoch
    training = Training(fit.module, fit.optimizer, job.precision.scaler())
    identity = Identity({"protocol": job.protocol.facts()["digest"]}, task.epochs, 1)
    found = checkpoint.latest(job.directory)
    start = checkpoint.load(found, training, identity) if found is not None else 0
    rows = Record(job.directory).open(start)
    with StopRequest() as stop, Progress(total, start, job.console) as progress:
        evaluate = _Evaluate(job, fit, task.evaluate_every * fit.steps_per_epoch, rows)
        save = _Save(job.directory, training, identity, fit.steps_per_epoch)
        with closing(rows), closing(save), closing(fit.batches(start)) as batches:
            train(
                fit.module,
                batches,
                fit.optimizer,
                fit.schedule,
                total_steps=total,
                precision=job.precision,
                scaler=training.scaler,
                start_step=start,
                callbacks=[_Skipped(job), _Watch(rows, progress, fit.steps_per_epoch), evaluate, save],
                stop=stop,
                to_inputs=fit.to_inputs,
            )
    if stop.requested:  # in the last step, too late for the loop
        raise Interrupted(total, total)
    evaluations = [row for row in rows.rows if fit.rank_by in row]
    best = max(evaluations, key=lambda row: row[fit.rank_by])
    with np.load(_of_step(job.directory, best["step"])) as arrays:
        found = dict(arrays)
    _write(job.directory / PREDICTIONS, found)
    return evaluations, found


def clear(directory: Path) -> None:
    """Delete what only a job that is not done needs."""
    for part in ("checkpoints", BEST):
        shutil.rmtree(directory / part, ignore_errors=True)


def _of_step(directory: Path, step: int) -> Path:
    return directory / BEST / f"{step}.npz"


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  # its stubs take an option for an array
        file.flush()
        os.fsync(file.fileno())


@dataclass
class _Skipped:
    """Collects the images that could not be read, each once."""

    job: Job

    def __call__(self, step: Step) -> None:
        self.job.skipped.extend(skip for skip in step.batch.skipped if skip not in self.job.skipped)


@dataclass
class _Watch:
    """Loss, rate and speed, every few steps, to the record and the screen."""

    record: Record
    progress: Progress
    steps_per_epoch: int
    images: int = 0
    data_s: float = 0.0
    total_s: float = 0.0
    since: int = 0

    def __call__(self, step: Step) -> None:
        self.images += step.images
        self.data_s += step.data_s
        self.total_s += step.total_s
        self.since += 1
        self.progress.advance(step.number)
        if step.number % LOG_STEPS == 0 or step.number in (1, step.total_steps):
            loss = step.outs[-1].get("loss", step.loss)
            row = {
                "step": step.number,
                "epoch": step.number / self.steps_per_epoch,
                "loss": float(loss),
                "lr": step.lr,
                "images_per_s": self.images / self.total_s,
                "data_wait": self.data_s / self.total_s,
                "left_s": (step.total_steps - step.number) * self.total_s / self.since,
            }
            self.record.write(row)
            self.progress.show(row, final=step.number == step.total_steps)
            self.images, self.data_s, self.total_s, self.since = 0, 0.0, 0.0, 0


@dataclass
class _Evaluate:
    """Every `every` steps and after the last one: a row, and the arrays where it is the best so far.

    Each in a file of its own: a job that goes on from an earlier checkpoint may come to other bits on a GPU, and the
    best must be one of its rows.
    """

    job: Job
    fit: Fit
    every: int
    record: Record

    def __call__(self, step: Step) -> None:
        if step.number % self.every and step.number != step.total_steps:
            return
        before = [row[self.fit.rank_by] for row in self.record.rows if self.fit.rank_by in row]
        numbers, arrays = self.fit.measure()
        if not before or numbers[self.fit.rank_by] > max(before):
            path = _of_step(self.job.directory, step.number)
            path.parent.mkdir(exist_ok=True)
            _write(path, arrays)
        epoch = step.number / self.fit.steps_per_epoch
        self.record.write({"step": step.number, "epoch": epoch, **numbers})
        shown = f"{self.fit.rank_by} {numbers[self.fit.rank_by]:.2f} %"
        self.job.console.print(f"epoch {epoch:g}: {shown} on val", highlight=False)


@dataclass
class _Save:
    """A checkpoint after whole epochs of 100 steps or more, when asked to stop, and at the end."""

    directory: Path
    training: Training
    identity: Identity
    steps_per_epoch: int
    background: Background = field(init=False)

    def __post_init__(self) -> None:
        self.background = Background(lambda reason: f"--out {self.directory}: {reason}; make room and go on")
        self.every = math.ceil(LEAST_STEPS / self.steps_per_epoch) * self.steps_per_epoch

    def __call__(self, step: Step) -> None:
        if step.number % self.every and not step.last:
            return
        content = checkpoint.prepare(self.directory, step.number, self.training, self.identity, keep=1)
        self.background.start(content and (lambda: checkpoint.write(content)))
        if step.last:
            self.background.finish()

    def close(self) -> None:
        self.background.close()
