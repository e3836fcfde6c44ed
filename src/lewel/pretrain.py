"""`lewel pretrain`: a recipe, a folder of images and a run directory, put together.

Everything that decides a number comes from the recipe and the seed; what is here checks, starts or goes on, and keeps
the run directory: config.yaml, checkpoints/, encoder.safetensors, metrics.jsonl, events.*, train.log, skipped.jsonl,
report.html, and with --init initial.safetensors.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise

import torch
from rich.console import Console
from rich.table import Table

from lewel import callbacks, parallel, plan
from lewel.config import Options
from lewel.data import resident
from lewel.data.skips import SkipLog
from lewel.data.workers import default_workers
from lewel.engine import checkpoint, files, memory, precision, record
from lewel.engine.loop import Callback, Step, train
from lewel.engine.monitor import Monitor
from lewel.engine.progress import Progress, duration
from lewel.engine.schedule import warmup_cosine
from lewel.engine.signals import StopRequest
from lewel.errors import UserError
from lewel.evaluate import during
from lewel.run import Run, prepare
from lewel.shapes import Batch, Skip

DRY_STEPS = 20
SAVE_STEPS = 1000  # at most so many steps are lost to a power cut
LEAST_STEPS = 100  # between checkpoints, in whole epochs: a small folder's epoch is a few steps


def pretrain(name: str, options: Options, overrides: plan.Overrides, console: Console | None = None) -> None:
    """Train `name` on `options.data`, or go on with the run in `options.run`. Call it in every process.

    Raises UserError for all that does not fit, before anything is written; Interrupted when asked to stop.
    """
    memory.keep_freed()
    with _processes(options):
        run = prepare(name, options, overrides, console or Console(stderr=True))
        _describe(run)
        if options.dry_run:
            _dry_run(run)
        else:
            with _alone(run):
                _train(run)


def _train(run: Run) -> None:
    options, total = run.options, run.plan.total_steps
    with ExitStack() as opened:
        parallel.on_main(lambda: opened.enter_context(record.logging_to(run.directory, run.console)), run.not_writable)
        found, start = checkpoint.latest(run.directory), 0
        if found is not None:
            start = checkpoint.load(found, run.training, run.identity, options.extend, options.change_processes)
        rows = opened.enter_context(_record(run, start))
        with StopRequest() as stop, Progress(total, start, run.console) as progress:
            skips = _skips(run)
            evaluate, save = _evaluate(run, rows, progress, skips), opened.enter_context(closing(_save(run)))
            if start == 0:
                save.initial(run.options.init)
                evaluate.measure(0)
            if start >= total:
                save.publish()
            _steps(run, start, total, [skips, _monitor(run, rows, progress), evaluate, save], stop)
        _say_what_was_written(run)


@contextmanager
def _record(run: Run, start: int) -> Iterator[record.Record]:
    """The run's record from step `start` on, and its config.yaml."""
    rows = record.Record(run.directory)
    parallel.on_main(lambda: rows.open(start), run.not_writable)
    parallel.on_main(lambda: _write_config(run), run.not_writable)
    if start and parallel.is_main():
        run.console.print(f"going on at step {start} of {run.plan.total_steps}", highlight=False)
    try:
        yield rows
    finally:
        rows.close()


def _steps(run: Run, start: int, total: int, after: list[Callback], stop: StopRequest | None = None) -> None:
    recipe, options = run.recipe, run.options
    schedule = warmup_cosine(
        recipe.optimizer.lr,
        recipe.epochs,
        run.plan.steps_per_epoch,
        warmup_epochs=recipe.optimizer.warmup_epochs,
        decay_per=recipe.optimizer.decay_per,
    )
    train(
        run.method,
        _batches(run, start, total),
        run.training.optimizer,
        schedule,
        total_steps=total,
        precision=run.precision,
        scaler=run.training.scaler,
        start_step=start,
        accumulate=options.accumulate,
        callbacks=after,
        stop=stop,
    )


def _batches(run: Run, start: int, total: int) -> Iterator[Batch]:
    recipe, rank, world = run.recipe, parallel.rank(), parallel.world()
    which = (recipe.data, recipe.optimizer.batch_size, run.options.seed, start, total, rank, world)
    images = run.images if run.held is None else run.held
    return resident.from_anywhere(images, *which, _workers(run), run.precision.device, run.executor)


def _workers(run: Run) -> int:
    given = run.options.workers
    return default_workers(run.precision.device) if given is None else given


def _skips(run: Run) -> callbacks.Skips:
    total = len(run.images) + (0 if run.queries is None else len(run.queries))
    kept = SkipLog(run.directory / "skipped.jsonl", total) if parallel.is_main() else None
    return callbacks.Skips(kept, run.options.log_every)


def _monitor(run: Run, rows: record.Record, progress: Progress) -> Monitor:
    warmup_steps = run.recipe.optimizer.warmup_epochs * run.plan.steps_per_epoch
    return Monitor(run.method, rows, progress, run.options.log_every, warmup_steps, run.plan.bn_group)


def _evaluate(run: Run, rows: record.Record, progress: Progress, skips: callbacks.Skips) -> callbacks.Evaluate:
    steps = run.plan.steps_per_epoch
    return callbacks.Evaluate(
        run.evaluations, run.method.online.encoder, run.images, run.queries, run.recipe.data, run.precision,
        _workers(run), run.options.every * steps, steps, rows, progress, skips,
    )  # fmt: skip


def _save(run: Run) -> callbacks.Save:
    data, options = run.recipe.data, run.options
    facts = {"recipe": run.recipe.name, "image_size": data.image_size, "mean": data.mean, "std": data.std}
    steps = run.plan.steps_per_epoch
    every = options.save_every or min(math.ceil(LEAST_STEPS / steps) * steps, SAVE_STEPS)
    return callbacks.Save(
        run.directory, run.training, run.identity, run.method.online.encoder, facts, every, options.keep
    )


# -- one process for all, one run a directory ------------------------------------------------------------------------


@contextmanager
def _processes(options: Options) -> Iterator[None]:
    parallel.start(precision.device(options.device, parallel.place().local_rank))
    try:
        yield
    finally:
        parallel.stop()


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Make the run directory and keep every other run out of it. Raises UserError on every process."""
    directory = run.directory

    def take() -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if not held.enter_context(files.locked(directory / ".lock")):
            raise UserError(f"--run {directory} is in use by another process; wait for its end, or give another --run")
        checkpoint.clean(directory)

    with ExitStack() as held:
        parallel.on_main(take, run.not_writable)
        yield


def _write_config(run: Run) -> None:
    facts = f"seed {run.options.seed}, {run.plan.images} images, {parallel.world()} process(es), {run.precision.name}"
    head = f"# {' '.join(sys.argv)}\n# {facts}\n"
    files.replace(run.directory / "config.yaml", (head + plan.to_yaml(run.recipe)).encode())


# -- words ----------------------------------------------------------------------------------------------------------


def _describe(run: Run) -> None:
    """What will run, and every number that was changed on the way."""
    if not parallel.is_main():
        return
    chosen, recipe = run.plan, run.recipe
    batch = recipe.optimizer.batch_size
    split = f" = {chosen.world} x {chosen.accumulate} x {chosen.micro_batch}" if batch != chosen.micro_batch else ""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "recipe": f"{recipe.name}   {recipe.method.encoder.name}, {recipe.data.image_size} px",
        "images": f"{chosen.images} in {run.options.data}",
        "steps": f"{chosen.total_steps} = {recipe.epochs} epochs x {chosen.steps_per_epoch}, batch {batch}{split}",
        "negatives": ", ".join(f"{name} {count}" for name, count in chosen.negatives.items()) or "none",
        "rate": f"{recipe.optimizer.kind} {recipe.optimizer.lr:g}",
        "on": f"{run.precision.device}, {run.precision.name}, {chosen.world} process(es), torch {torch.__version__}",
        "views": f"{run.executor.name}{', compiled' if run.executor.compiled else ''}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    run.console.print(table, highlight=False)
    for note in chosen.notes:
        run.console.print(f"  {note}", highlight=False)
    if run.options.evaluate not in (None, during.NOTHING) and not run.evaluations:
        needed = "needs labels: --data with train/CLASS/... and val/CLASS/..."
        run.console.print(f"  nothing will be measured: --evaluate {run.options.evaluate} {needed}", highlight=False)


def _dry_run(run: Run) -> None:
    """Check the checkpoint to go on from, time a few steps, say what the whole would take. Nothing is written."""
    found = checkpoint.latest(run.directory)
    if found is not None:
        checkpoint.load(found, run.training, run.identity, run.options.extend, run.options.change_processes)
    steps = min(DRY_STEPS, run.plan.total_steps)
    times: list[float] = []
    skipped: list[Skip] = []
    _steps(run, 0, steps, [lambda step: times.append(_finished(step)), lambda step: skipped.extend(step.batch.skipped)])
    if not parallel.is_main():
        return
    spans = sorted(b - a for a, b in pairwise(times)) or [float("nan")]
    median = spans[len(spans) // 2]
    run.console.print(
        f"dry run: {steps} steps, {median:.3f} s a step (median), "
        f"{run.recipe.optimizer.batch_size / median:.0f} images/s, "
        f"peak memory {memory.peak_bytes() / 1e9:.1f} GB; all {run.plan.total_steps} steps take about "
        f"{duration(run.plan.total_steps * median) if len(times) > 1 else 'unknown'}"
        f"{', and the evaluations: ' + ', '.join(run.evaluations) if run.evaluations else ''}. Nothing was written.",
        highlight=False,
    )
    for skip in skipped:
        run.console.print(f"cannot be read: {skip.path}: {skip.reason}", markup=False, highlight=False)


def _finished(step: Step) -> float:
    float(step.loss)  # waits for the device
    return time.perf_counter()


def _say_what_was_written(run: Run) -> None:
    if parallel.is_main():
        names = ["encoder.safetensors", "report.html", "metrics.jsonl", "config.yaml", "checkpoints/"]
        run.console.print(f"done; in {run.directory}: {', '.join(names)}", highlight=False)
