"""`lewel pretrain`: a recipe, a folder of images and a run directory, put together.

Everything that decides a number comes from the recipe and the seed; what is here checks, starts or goes on, and keeps
the run directory: config.yaml, checkpoints/, encoder.safetensors, metrics.jsonl, events.*, train.log, status.json,
skipped.jsonl, report.html, and with --init initial.safetensors.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise

import torch

from lewel import callbacks, footprint, parallel, plan
from lewel.config import Options, Recipe
from lewel.console import Console
from lewel.data import remarks, resident, sampled
from lewel.data.skips import SkipLog
from lewel.data.workers import default_workers
from lewel.engine import checkpoint, files, memory, precision
from lewel.engine.hooks import StartsEpoch, TakesGeometry
from lewel.engine.identity import flat
from lewel.engine.loop import Callback, Step, train
from lewel.engine.monitor import Monitor
from lewel.engine.progress import Progress, duration
from lewel.engine.record import Logger, Record
from lewel.engine.run_log import RunLog
from lewel.engine.schedule import warmup_cosine
from lewel.engine.signals import Interrupted, StopRequest
from lewel.errors import UserError
from lewel.evaluate.features import extract
from lewel.loggers import opening
from lewel.loggers.start import Start
from lewel.recipes import config_file
from lewel.run import Run, as_written_now, prepare
from lewel.shapes import Batch, Skip
from lewel.terminal import printable

DRY_STEPS, DRY_SECONDS, DRY_LEAST = 20, 60.0, 3  # so many steps, or those of a minute, but three at least
SAVE_STEPS = 1000  # at most so many steps are lost to a power cut
LEAST_STEPS = 100  # between checkpoints, in whole epochs: a small folder's epoch is a few steps


def pretrain(
    recipe: str | Recipe,
    options: Options,
    overrides: plan.Overrides,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> None:
    """Train `recipe` on `options.data`, or go on with the run in `options.run`. Call it in every process.

    callbacks: called after every step, when lewel's own are done with it.
    loggers: get every row beside those of `options.log`, and are closed at the end; process 0 uses its own.
    Raises UserError for all that does not fit, before anything is written; Interrupted when asked to stop.
    """
    memory.keep_freed()
    remarks.forget()
    opening.check(loggers)
    console = console or Console(stderr=True)
    group = parallel.group(lambda: precision.device(options.device, parallel.place().local_rank), options.timeout)
    with group, memory.explained(), RunLog(console).listening() as log:
        run = prepare(recipe, options, overrides, console)
        _describe(run)
        if options.dry_run:
            _dry_run(run)
        else:
            with _alone(run):
                start = _start(run)
                with log.into(run.directory):  # not before: a start that is refused leaves a run's log as it is
                    _train(run, start, callbacks, loggers)


def _start(run: Run) -> int:
    """The step that the run begins at: its last checkpoint's, which is loaded. Raises UserError if it does not fit."""
    found, options = checkpoint.latest(run.directory), run.options
    if found is None:
        return 0
    return checkpoint.load(
        found,
        run.training,
        run.identity,
        options.extend,
        options.change_processes,
        options.change_images,
        upgrade=as_written_now,
    )


def _train(run: Run, start: int, others: Sequence[Callback], loggers: Sequence[Logger]) -> None:
    total = run.plan.total_steps
    with ExitStack() as opened:
        rows = opened.enter_context(_record(run, start, loggers))
        with StopRequest() as stop, Progress(total, start, run.console) as progress:
            skips = _skips(run)
            evaluate, save = _evaluate(run, rows, progress, skips), opened.enter_context(closing(_save(run)))
            report = callbacks.Report(run.directory, start, total, save.every)
            with report.until_the_end(), parallel.explained(), memory.explained():
                if start == 0:
                    save.initial(run.options.init)
                    evaluate.measure(0)
                if start >= total:
                    save.publish()
                else:
                    progress.begin()
                own = [skips, _monitor(run, rows, progress), evaluate, report, save]
                _steps(run, start, total, [*own, *others], stop)
        _say_what_was_written(run)


@contextmanager
def _record(run: Run, start: int, loggers: Sequence[Logger]) -> Iterator[Record]:
    """The run's record from step `start` on, and its config.yaml."""
    rows = Record()

    def begin() -> None:
        nonlocal rows
        rows = opening.open_record(Start(run.directory, start, _config(run)), run.loggers, loggers)

    parallel.on_main(begin, run.not_writable)
    parallel.on_main(lambda: _write_config(run), run.not_writable)
    if start and parallel.is_main():
        run.console.print(f"going on at step {start} of {run.plan.total_steps}")
    try:
        yield rows
    finally:
        rows.close()


def _config(run: Run) -> dict[str, object]:
    """What loggers keep of a run beside its rows."""
    facts = {"data": run.options.data, "seed": run.options.seed, "init": run.options.init}
    facts |= {"precision": run.precision.name, "processes": parallel.world()}
    return flat(config_file.to_dict(run.recipe)) | facts


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
        before=lambda step: _start_epoch(run, step),
    )


def _start_epoch(run: Run, step: int) -> None:
    """Before an epoch's first step, let the method compute what it wants."""
    module, steps = run.method, run.plan.steps_per_epoch
    if isinstance(module, StartsEpoch) and step % steps == 0:
        data, workers = run.recipe.data, _workers(run)
        module.on_epoch_start(step // steps, lambda network: extract(network, run.images, data, run.precision, workers))


def _batches(run: Run, start: int, total: int) -> Iterator[Batch]:
    recipe, rank, world = run.recipe, parallel.rank(), parallel.world()
    which = (recipe.data, recipe.optimizer.batch_size, run.options.seed, start, total, rank, world)
    images = run.images if run.held is None else run.held
    geometry = isinstance(run.method, TakesGeometry) and run.method.takes_geometry
    return resident.from_anywhere(images, *which, _workers(run), run.precision.device, run.executor, geometry)


def _workers(run: Run) -> int:
    given = run.options.workers
    return default_workers(run.precision.device) if given is None else given


def _skips(run: Run) -> callbacks.Skips:
    total = len(run.images) + (0 if run.queries is None else len(run.queries))
    kept = SkipLog(run.directory / "skipped.jsonl", total, run.options.max_unreadable) if parallel.is_main() else None
    return callbacks.Skips(kept, run.options.log_every)


def _monitor(run: Run, rows: Record, progress: Progress) -> Monitor:
    warmup_steps = run.recipe.optimizer.warmup_epochs * run.plan.steps_per_epoch
    health, every = run.training.health, run.options.log_every
    return Monitor(run.method, rows, progress, health, every, warmup_steps, run.plan.bn_group)


def _evaluate(run: Run, rows: Record, progress: Progress, skips: callbacks.Skips) -> callbacks.Evaluate:
    steps = run.plan.steps_per_epoch
    return callbacks.Evaluate(
        run.evaluations, run.encoder, run.images, run.queries, run.recipe.data, run.precision,
        _workers(run), run.options.every * steps, steps, rows, progress, skips,
    )  # fmt: skip


def _save(run: Run) -> callbacks.Save:
    data, options = run.recipe.data, run.options
    facts = {"recipe": run.recipe.name, "image_size": data.image_size, "mean": data.mean, "std": data.std}
    steps = run.plan.steps_per_epoch
    every = options.save_every or min(math.ceil(LEAST_STEPS / steps) * steps, SAVE_STEPS)
    return callbacks.Save(run.directory, run.training, run.identity, run.encoder, facts, every, options.keep)


# -- one process for all, one run a directory ------------------------------------------------------------------------


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Make the run directory and keep every other run out of it. Raises UserError on every process."""
    directory = run.directory

    def take() -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if not held.enter_context(files.locked(directory / ".lock")):
            raise UserError(f"--out {directory} is in use by another process; wait for its end, or give another --out")
        files.clean(directory)
        checkpoint.clean(directory)

    with ExitStack() as held:
        parallel.on_main(take, run.not_writable)
        yield


def _write_config(run: Run) -> None:
    facts = f"seed {run.options.seed}, {run.plan.images} images, {parallel.world()} process(es), {run.precision.name}"
    head = f"# {printable(' '.join(sys.argv))}\n# {facts}\n"  # a line break would end the comment
    files.replace(run.directory / config_file.NAME, (head + config_file.to_yaml(run.recipe)).encode())


# -- words ----------------------------------------------------------------------------------------------------------


def _describe(run: Run) -> None:
    """What will run, and every number that was changed on the way."""
    if not parallel.is_main():
        return
    chosen, recipe = run.plan, run.recipe
    batch = recipe.optimizer.batch_size
    split = f" = {chosen.world} x {chosen.accumulate} x {chosen.micro_batch}" if batch != chosen.micro_batch else ""
    rows = {
        "recipe": f"{recipe.name}   {recipe.method.encoder.name}, {recipe.data.image_size} px",
        "images": f"{chosen.images} in {run.options.data}",
        "steps": f"{chosen.total_steps} = {recipe.epochs} epochs x {chosen.steps_per_epoch}, batch {batch}{split}",
        "negatives": ", ".join(f"{name} {count}" for name, count in chosen.negatives.items()) or "none",
        "rate": f"{recipe.optimizer.kind} {recipe.optimizer.lr:g}",
        "on": f"{run.precision.device}, {run.precision.name}, {chosen.world} process(es), torch {torch.__version__}",
        "views": f"{run.executor.name}{', compiled' if run.executor.compiled else ''}",
    }
    if run.footprint is not None:
        free = memory.free_bytes(run.precision.device) or math.nan
        rows["memory"] = f"{run.footprint}; {footprint.gigabytes(free)} free"
    for name, text in rows.items():
        run.console.print(f"{name:<11}{text}")
    of_val = run.queries.notes if run.queries is not None else ()
    notes = [*dict.fromkeys((*run.images.notes, *of_val)), *chosen.notes]
    if run.unmeasured:
        notes.append(f"nothing will be measured: {run.unmeasured}")
    for note in notes:
        run.console.print(f"  {note}")


def _dry_run(run: Run) -> None:
    """Check the checkpoint to go on from, time a few steps, say what the whole would take. Nothing is written."""
    _start(run)
    parallel.on_main(lambda: _read_sample(run))
    steps = min(DRY_STEPS, run.plan.total_steps)
    times: list[float] = []
    skipped: list[Skip] = []
    stop = StopRequest()  # not entered: a signal ends a dry run at once
    with Progress(steps, 0, run.console) as progress:

        def timed(step: Step) -> None:
            times.append(_finished(step))
            skipped.extend(step.batch.skipped)
            progress.advance(step.number)
            if len(times) >= DRY_LEAST and times[-1] - began > DRY_SECONDS:
                stop.requested = True

        began = time.perf_counter()
        progress.begin()
        with suppress(Interrupted):
            _steps(run, 0, steps, [timed], stop)
    if not parallel.is_main():
        return
    spans = sorted(b - a for a, b in pairwise(times)) or [float("nan")]
    median = spans[len(spans) // 2]
    run.console.print(
        f"dry run: {len(times)} steps, {median:.3f} s a step (median), "
        f"{run.recipe.optimizer.batch_size / median:.0f} images/s, "
        f"peak memory {memory.peak_bytes() / 1e9:.1f} GB; all {run.plan.total_steps} steps take about "
        f"{duration(run.plan.total_steps * median) if len(times) > 1 else 'unknown'}"
        f"{', and the evaluations: ' + ', '.join(run.evaluations) if run.evaluations else ''}. Nothing was written.",
        highlight=False,
    )
    for skip in skipped:
        run.console.print(f"cannot be read: {skip.path}: {skip.reason}")


def _read_sample(run: Run) -> None:
    """Say how many of a sample can be read. Raises UserError where more cannot than may."""
    found = sampled.sample([run.images, *([run.queries] if run.queries is not None else [])], _workers(run))
    run.console.print(found.told(), highlight=False)
    if problem := found.problem(run.options.max_unreadable):
        raise UserError(problem)


def _finished(step: Step) -> float:
    float(step.loss)  # waits for the device
    return time.perf_counter()


def _say_what_was_written(run: Run) -> None:
    if parallel.is_main():
        names = ["encoder.safetensors", "report.html", "metrics.jsonl", "config.yaml", "checkpoints/"]
        run.console.print(f"done; in {run.directory}: {', '.join(names)}")
