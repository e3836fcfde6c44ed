"""Evaluations that train, on the engine of pretraining: its loop, its checkpoints, its record.

A job that was stopped goes on from its last checkpoint and ends with the same numbers, bit for bit on a CPU.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from lewel.engine import checkpoint
from lewel.engine.background import Background
from lewel.engine.identity import Identity
from lewel.engine.loop import Step, train
from lewel.engine.progress import Progress
from lewel.engine.record import Record
from lewel.engine.schedule import Schedule, steps, warmup_cosine
from lewel.engine.signals import Interrupted, StopRequest
from lewel.engine.state import Training
from lewel.evaluate import predictions
from lewel.evaluate.dense.tasks import Iterations
from lewel.evaluate.job import Job
from lewel.evaluate.protocols import Task
from lewel.evaluate.tasks import Finetune, Linear
from lewel.loggers import opening
from lewel.loggers.start import Start

log = logging.getLogger(__name__)

LOG_STEPS = 20
LEAST_FOR_BN = 2  # images in each of a batch's parts: of a single one a map of 1 x 1 has no variance
LEAST_STEPS = 100  # between checkpoints
BEST = "best"  # directory: arrays of each evaluation that was the best so far, by step


class Steps(NamedTuple):
    """How long training is, and what happens when, in steps.  an_epoch: for the record, which tells epochs."""

    total: int
    an_epoch: float
    between_evaluations: int
    between_checkpoints: int


@dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how it is measured.

    batches: from a step to the batches from there on.   to_inputs: batch -> the module's inputs.
    measure: () -> the numbers of an evaluation, with `rank_by` among them, and arrays to keep if it is the result.
    result: "best": the evaluation with the highest `rank_by`; "last": that after the last step.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    steps: Steps
    batches: Callable[[int], Generator[Any]]
    to_inputs: Callable[[Any], tuple[Any, ...]]
    measure: Callable[[], tuple[dict[str, Any], dict[str, np.ndarray]]]
    rank_by: str
    result: Literal["best", "last"] = "best"


def schedule(task: Linear | Finetune, steps_per_epoch: int) -> Schedule:
    """The rate of the head, step by step, as the protocol has it."""
    if task.milestones:
        return steps(task.lr, task.milestones, steps_per_epoch)
    if isinstance(task, Linear):
        return warmup_cosine(task.lr, task.epochs, steps_per_epoch)
    return warmup_cosine(
        task.lr, task.epochs, steps_per_epoch, warmup_epochs=task.warmup_epochs, decay_per="step", last=task.lr_last
    )


def in_epochs(task: Linear | Finetune, steps_per_epoch: int) -> Steps:
    """The protocol's, evaluations and checkpoints at the ends of epochs."""
    total, between = task.epochs * steps_per_epoch, task.evaluate_every * steps_per_epoch
    return Steps(total, steps_per_epoch, between, math.ceil(LEAST_STEPS / steps_per_epoch) * steps_per_epoch)


def facts(task: Task, images: int) -> dict[str, Any]:
    """What a step is with so few images; empty for tasks that do not train."""
    if isinstance(task, Iterations):
        epochs = round(task.iterations * task.batch_size / images, 3)
        return {"images": images, "batch_size": task.batch_size, "iterations": task.iterations, "epochs": epochs}
    if not isinstance(task, Linear | Finetune):
        return {}
    batch = min(task.batch_size, images)
    found = {"images": images, "batch_size": batch, "steps_per_epoch": math.ceil(images / task.batch_size)}
    if isinstance(task, Finetune):
        found["bn_images"] = max(math.ceil(batch / bn_groups(task)), LEAST_FOR_BN)
    return found


def bn_groups(task: Finetune) -> int:
    """Parts of a batch with statistics of their own; another batch size that has no such parts is one."""
    if task.bn_images is None or task.batch_size % task.bn_images:
        return 1
    return task.batch_size // task.bn_images


def run(job: Job, fit: Fit) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Train to the end, or go on. Returns the evaluations in their order, and the arrays of the result.

    Raises Interrupted when asked to stop, after a checkpoint.
    """
    total = fit.steps.total
    training = Training(fit.module, fit.optimizer, job.precision.scaler())
    identity = Identity({"protocol": job.protocol.facts()["digest"]}, math.ceil(total / fit.steps.an_epoch), 1)
    found, damages = checkpoint.newest_whole(job.directory)
    for damage in damages:
        log.warning("%s; the job begins anew", damage)
    start = checkpoint.load(found, training, identity) if found is not None else 0
    rows = opening.open_record(Start(job.directory, start), opening.parse(()))
    with StopRequest() as stop, Progress(total, start, job.console) as progress:
        evaluate = _Evaluate(job, fit, rows)
        save = _Save(job.directory, training, identity, fit.steps.between_checkpoints)
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
                callbacks=[_Skipped(job), _Watch(rows, progress, fit.steps.an_epoch), evaluate, save],
                stop=stop,
                to_inputs=fit.to_inputs,
            )
    if stop.requested:  # in the last step, too late for the loop
        raise Interrupted(total, total, stop.by)
    evaluations = [row for row in rows.rows if fit.rank_by in row]
    chosen = max(evaluations, key=lambda row: row[fit.rank_by]) if fit.result == "best" else evaluations[-1]
    found = predictions.load(_of_step(job.directory, chosen["step"]))
    predictions.write(job.directory, found)
    return evaluations, found


def clear(directory: Path) -> None:
    """Delete what only a job that is not done needs."""
    for part in ("checkpoints", BEST):
        shutil.rmtree(directory / part, ignore_errors=True)


def _of_step(directory: Path, step: int) -> Path:
    return directory / BEST / f"{step}.npz"


@dataclass
class _Skipped:
    """Collects the images that could not be read, each once."""

    job: Job

    def __call__(self, step: Step) -> None:
        self.job.skip(step.batch.skipped)


@dataclass
class _Watch:
    """Loss, rate and speed, every few steps, to the record and the screen."""

    record: Record
    progress: Progress
    steps_per_epoch: float
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
    """Every `between_evaluations` steps and after the last one: a row, and the arrays where it may be the result.

    Each in a file of its own: a job that goes on from an earlier checkpoint may come to other bits on a GPU, and the
    best must be one of its rows.
    """

    job: Job
    fit: Fit
    record: Record

    def __call__(self, step: Step) -> None:
        if step.number % self.fit.steps.between_evaluations and step.number != step.total_steps:
            return
        name, best = self.fit.rank_by, self.fit.result == "best"
        before = [row[name] for row in self.record.rows if name in row]
        numbers, arrays = self.fit.measure()
        if (not before or numbers[name] > max(before)) if best else step.number == step.total_steps:
            path = _of_step(self.job.directory, step.number)
            path.parent.mkdir(exist_ok=True)
            predictions.save(path, arrays)
        epoch = step.number / self.fit.steps.an_epoch
        self.record.write({"step": step.number, "epoch": epoch, **numbers})
        at = f"epoch {epoch:g}" if best else f"step {step.number}"
        self.job.console.print(f"{at}: {name} {numbers[name]:.2f} % on val")


@dataclass
class _Save:
    """A checkpoint every so many steps, when asked to stop, and at the end."""

    directory: Path
    training: Training
    identity: Identity
    every: int
    background: Background = field(init=False)

    def __post_init__(self) -> None:
        self.background = Background(
            lambda reason: f"--out {self.directory} not written ({reason}); the same command goes on"
        )

    def __call__(self, step: Step) -> None:
        if step.number % self.every and not step.last:
            return
        content = checkpoint.prepare(self.directory, step.number, self.training, self.identity, keep=1)
        self.background.start(content and (lambda: checkpoint.write(content)))
        if step.last:
            self.background.finish()

    def close(self) -> None:
        self.background.close()
