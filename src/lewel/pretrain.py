"""`lewel pretrain`: a recipe, a folder of images and a run directory, put together.

Everything that decides a number comes from the recipe and the seed; what is here checks, starts or goes on, and keeps
the run directory: config.yaml, checkpoints/, encoder.safetensors, metrics.jsonl, events.*, train.log, skipped.jsonl,
report.html.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from lewel import build, callbacks, parallel, plan, recipes
from lewel.config import Options, Recipe
from lewel.data.images import Files, Pixels, is_divided, open_images, relabelled
from lewel.data.loader import SkipLog, batches
from lewel.data.workers import worker_error
from lewel.engine import checkpoint, files, precision, record
from lewel.engine.identity import Identity
from lewel.engine.loop import Callback, Step, place, train
from lewel.engine.monitor import Monitor
from lewel.engine.optim import make_optimizer
from lewel.engine.progress import Progress, duration
from lewel.engine.schedule import warmup_cosine
from lewel.engine.signals import StopRequest
from lewel.engine.state import Training
from lewel.errors import UserError
from lewel.interop import weights
from lewel.model.method import Method

DRY_STEPS = 20
SAVE_STEPS = 1000  # at most so many steps are lost to a power cut
LEAST_STEPS = 100  # between checkpoints, in whole epochs: a small folder's epoch is a few steps


@dataclass
class Run:
    """A run, checked and built, before its first step."""

    options: Options
    plan: plan.Plan
    images: Files | Pixels
    queries: Files | Pixels | None  # the labelled val split, where there is one
    precision: precision.Precision
    training: Training
    console: Console

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def method(self) -> Method:
        assert isinstance(self.training.module, Method)
        return self.training.module

    @property
    def directory(self) -> Path:
        return Path(self.options.run)

    @property
    def identity(self) -> Identity:
        others = {"seed": self.options.seed, "images": self.plan.images, "accumulate": self.options.accumulate}
        content = dataclasses.asdict(self.recipe) | others
        return Identity(
            {k: v for k, v in content.items() if k not in ("epochs", "note")}, self.recipe.epochs, parallel.world()
        )


def pretrain(name: str, options: Options, overrides: plan.Overrides, console: Console | None = None) -> None:
    """Train `name` on `options.data`, or go on with the run in `options.run`. Call it in every process.

    Raises UserError for all that does not fit, before anything is written; Interrupted when asked to stop.
    """
    with _processes(options):
        run = prepare(name, options, overrides, console or Console(stderr=True))
        _describe(run)
        if options.dry_run:
            _dry_run(run)
        else:
            with _alone(run.directory):
                _train(run)


def prepare(name: str, options: Options, overrides: plan.Overrides, console: Console) -> Run:
    """Check and build, in the order of what costs least; writes nothing.

    Raises UserError on every process for what one of them finds.
    """
    run, problem = None, ""
    try:
        run = _build(name, options, overrides, console)
    except UserError as error:
        problem = str(error)
    parallel.raise_together(problem)
    assert run is not None
    _check_same_images(run.images)
    parallel.broadcast_([*run.method.parameters(), *run.method.buffers()])
    if parallel.rank():
        torch.manual_seed(options.seed + parallel.rank())  # or all processes would draw the same random maps
    return run


def _build(name: str, options: Options, overrides: plan.Overrides, console: Console) -> Run:
    device = precision.device(options.device, parallel.local_rank())
    _check_options(options)
    divided = is_divided(options.data)
    images = open_images(options.data, "train" if divided else None)
    chosen = plan.resolve(recipes.get(name), overrides, len(images), parallel.world(), options.accumulate)
    _check_directory(Path(options.run), chosen.recipe)
    queries = _queries(options, images) if divided else None
    torch.manual_seed(options.seed)
    method = build.method(chosen.recipe)
    place(method, device).train()
    if options.init != "random":
        account = weights.initialise(method, options.init)
        if parallel.is_main():
            console.print(str(account), highlight=False, markup=False)
    chosen_precision = precision.choose(options.precision, device)
    training = Training(method, make_optimizer(method, chosen.recipe.optimizer), chosen_precision.scaler())
    return Run(options, chosen, images, queries, chosen_precision, training, console)


def _train(run: Run) -> None:
    options, total = run.options, run.plan.total_steps
    with ExitStack() as opened:
        _on_main(run, lambda: opened.enter_context(record.logging_to(run.directory, run.console)))
        found, start = checkpoint.latest(run.directory), 0
        if found is not None:
            start = checkpoint.load(found, run.training, run.identity, options.extend, options.change_processes)
        rows = opened.enter_context(_record(run, start))
        try:
            with StopRequest() as stop, Progress(total, start, run.console) as progress:
                knn, save = _knn(run, rows, progress), _save(run)
                if start == 0:
                    knn.measure(0)
                if start >= total:
                    save.publish(with_report=True)  # a kill may have come between the last checkpoint and these
                _steps(run, start, total, [_skips(run), _monitor(run, rows, progress), knn, save], stop)
        except RuntimeError as error:  # PyTorch raises the death of a data worker from a signal handler, anywhere
            raise worker_error(error) or error from error
        _say_what_was_written(run)


@contextmanager
def _record(run: Run, start: int) -> Iterator[record.Record]:
    """The run's record from step `start` on, and its config.yaml."""
    rows: list[record.Record] = []

    def write() -> None:
        rows.append(record.Record(run.directory, start))
        _write_config(run)

    _on_main(run, write)
    if not rows:
        rows.append(record.Record(run.directory, start))  # of another process: it writes nothing
    if start and parallel.is_main():
        run.console.print(f"going on at step {start} of {run.plan.total_steps}", highlight=False)
    try:
        yield rows[0]
    finally:
        rows[0].close()


def _on_main(run: Run, work: Callable[[], object]) -> None:
    """Do it on process 0; what goes wrong there is raised as a UserError on every process, so that none waits."""
    problem = ""
    if parallel.is_main():
        try:
            work()
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = f"--run {run.directory} cannot be written ({error.strerror}); make room, or give another --run"
    parallel.raise_together(problem)


def _steps(run: Run, start: int, total: int, after: list[Callback], stop: StopRequest | None = None) -> None:
    recipe, options = run.recipe, run.options
    source = batches(
        run.images,
        recipe.data,
        recipe.optimizer.batch_size,
        options.seed,
        start,
        total,
        parallel.rank(),
        parallel.world(),
        _workers(run),
        run.precision.device,
    )
    schedule = warmup_cosine(
        recipe.optimizer.lr,
        recipe.epochs,
        run.plan.steps_per_epoch,
        warmup_epochs=recipe.optimizer.warmup_epochs,
        decay_per=recipe.optimizer.decay_per,
    )
    train(
        run.method,
        source,
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


def _workers(run: Run) -> int:
    """By default: on a CPU one, the other cores compute; for a GPU this process's share of the machine, at most 16."""
    if run.options.workers is not None:
        return run.options.workers
    if run.precision.device.type == "cpu":
        return 1
    everything = os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else everything
    bound = cores < everything  # srun has given this process cores of its own
    return max(1, min(16, cores if bound else cores // parallel.processes_here()))


def _skips(run: Run) -> callbacks.Skips:
    kept = SkipLog(run.directory / "skipped.jsonl", len(run.images)) if parallel.is_main() else None
    return callbacks.Skips(kept, run.options.log_every)


def _monitor(run: Run, rows: record.Record, progress: Progress) -> Monitor:
    warmup_steps = run.recipe.optimizer.warmup_epochs * run.plan.steps_per_epoch
    return Monitor(run.method, rows, progress, run.options.log_every, warmup_steps, run.plan.bn_group)


def _knn(run: Run, rows: record.Record, progress: Progress) -> callbacks.Knn:
    steps = run.plan.steps_per_epoch
    return callbacks.Knn(
        run.method.online.encoder, run.images, run.queries, run.recipe.data, run.precision, _workers(run),
        run.options.knn_every * steps, steps, rows, progress,
    )  # fmt: skip


def _save(run: Run) -> callbacks.Save:
    data, options = run.recipe.data, run.options
    facts = {"recipe": run.recipe.name, "image_size": data.image_size, "mean": data.mean, "std": data.std}
    steps = run.plan.steps_per_epoch
    every = options.save_every or min(math.ceil(LEAST_STEPS / steps) * steps, SAVE_STEPS)
    return callbacks.Save(
        run.directory, run.training, run.identity, run.method.online.encoder, facts, every, options.keep
    )


# -- checks ---------------------------------------------------------------------------------------------------------


@contextmanager
def _processes(options: Options) -> Iterator[None]:
    parallel.start(precision.device(options.device, parallel.place().local_rank))
    try:
        yield
    finally:
        parallel.stop()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Make the run directory and keep every other run out of it. Raises UserError on every process."""
    problem = ""
    with ExitStack() as held:
        if parallel.is_main():
            try:
                directory.mkdir(parents=True, exist_ok=True)
                if held.enter_context(files.locked(directory / ".lock")):
                    checkpoint.clean(directory)
                else:
                    problem = f"--run {directory} is in use by another process; wait for its end, or give another --run"
            except OSError as error:
                problem = f"--run {directory} cannot be written ({error.strerror}); give another --run"
        parallel.raise_together(problem)
        yield


def _check_options(options: Options) -> None:
    for name, least in (
        ("keep", 1),
        ("save_every", 1),
        ("log_every", 1),
        ("knn_every", 0),
        ("workers", 0),
        ("seed", 0),
    ):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be {least} or more")


def _queries(options: Options, images: Files | Pixels) -> Files | Pixels | None:
    """The val split for kNN, when both splits have labels."""
    if images.labels is None or options.knn_every == 0:
        return None
    queries = open_images(options.data, "val")
    return relabelled(queries, images.classes or []) if queries.labels is not None else None


def _check_directory(run: Path, recipe: Recipe) -> None:
    """A run directory belongs to one recipe, also before its first checkpoint."""
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file; give a directory, new or of the run to go on with")
    config = run / "config.yaml"
    if config.exists() and not any((run / "checkpoints").glob("step-*")):
        there = plan.from_yaml(config.read_text(encoding="utf-8"))
        if plan.fingerprint(there) != plan.fingerprint(recipe):
            raise UserError(
                f"--run {run} is of {there.name} with other numbers; give the recipe and flags in its config.yaml, "
                "or another --run"
            )


def _check_same_images(images: Files | Pixels) -> None:
    """All processes must see the same images in the same order: each takes its share of one permutation."""
    if parallel.world() == 1:
        return
    names = "\0".join(images.names) if isinstance(images, Files) else ""
    seen = f"{len(images)} images, digest {hashlib.sha256(names.encode(errors='surrogateescape')).hexdigest()[:12]}"
    found = parallel.all_gather_objects([seen])
    if len(set(found)) > 1:
        told = "; ".join(f"process {rank}: {what}" for rank, what in enumerate(found))
        raise UserError(f"--data is not the same on all processes ({told}); give all machines the same files")


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
    }
    for name, text in rows.items():
        table.add_row(name, text)
    run.console.print(table, highlight=False)
    for note in chosen.notes:
        run.console.print(f"  {note}", highlight=False)


def _dry_run(run: Run) -> None:
    """Time a few steps and say what the whole would take. Nothing is written."""
    steps = min(DRY_STEPS, run.plan.total_steps)
    times: list[float] = []
    _steps(run, 0, steps, [lambda step: times.append(_finished(step))])
    spans = sorted(b - a for a, b in pairwise(times))
    if not parallel.is_main() or not spans:
        return
    median = spans[len(spans) // 2]
    run.console.print(
        f"dry run: {steps} steps, {median:.3f} s a step (median), "
        f"{run.recipe.optimizer.batch_size / median:.0f} images/s, "
        f"peak memory {_peak_memory_gb(run.precision.device):.1f} GB; all {run.plan.total_steps} steps take about "
        f"{duration(run.plan.total_steps * median)}. Nothing was written.",
        highlight=False,
    )


def _finished(step: Step) -> float:
    float(step.loss)  # waits for the device
    return time.perf_counter()


def _peak_memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _say_what_was_written(run: Run) -> None:
    if parallel.is_main():
        names = ["encoder.safetensors", "report.html", "metrics.jsonl", "config.yaml", "checkpoints/"]
        run.console.print(f"done; in {run.directory}: {', '.join(names)}", highlight=False)
