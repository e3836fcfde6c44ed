"""`lewel pretrain`: a recipe, a folder of images and a run directory, put together.

Everything that decides a number comes from the recipe and the seed; what is here checks, starts or goes on, and keeps
the run directory: config.yaml, checkpoints/, encoder.safetensors, metrics.jsonl, events.*, train.log, skipped.jsonl,
report.html.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from lewel import build, callbacks, parallel, plan, recipes
from lewel.config import Options, Recipe
from lewel.data.images import Files, Pixels, is_divided, open_images
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

log = logging.getLogger(__name__)

DRY_STEPS = 20
SAVE_STEPS = 1000  # at most so many steps are lost to a power cut


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
        content = dataclasses.asdict(self.recipe) | {"seed": self.options.seed, "images": self.plan.images}
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
    """Check and build, in the order of what costs least; writes nothing."""
    device = precision.device(options.device, parallel.local_rank())
    _check_options(options)
    divided = is_divided(options.data)
    images = open_images(options.data, "train" if divided else None)
    chosen = plan.resolve(recipes.get(name), overrides, len(images), parallel.world(), options.accumulate)
    _check_directory(Path(options.run), chosen.recipe)
    torch.manual_seed(options.seed)
    method = build.method(chosen.recipe)
    place(method, device).train()
    if options.init != "random":
        account = weights.initialise(method, options.init)
        if parallel.is_main():
            console.print(str(account), highlight=False, markup=False)
    _same_everywhere(method)
    chosen_precision = precision.choose(options.precision, device)
    optimizer = make_optimizer(method, chosen.recipe.optimizer)
    return Run(
        options=options,
        plan=chosen,
        images=images,
        queries=_queries(options, images) if divided else None,
        precision=chosen_precision,
        training=Training(method, optimizer, chosen_precision.scaler()),
        console=console,
    )


def _train(run: Run) -> None:
    started = checkpoint.latest(run.directory)
    options, start = run.options, 0
    if started is not None:
        start = checkpoint.load(started, run.training, run.identity, options.extend, options.change_processes)
    handler = record.log_to(run.directory)
    rows = record.Record(run.directory, start)
    _write_config(run)
    total = run.plan.total_steps
    if start:
        run.console.print(f"going on at step {start} of {total}", highlight=False)
    try:
        with StopRequest() as stop, Progress(total, start, run.console) as progress:
            knn = _knn(run, rows, progress)
            if start == 0:
                knn.measure(0)
            _steps(run, start, total, [_skips(run), _monitor(run, rows, progress), knn, _save(run)], stop)
        _say_what_was_written(run)
    except RuntimeError as error:  # PyTorch raises the death of a data worker from a signal handler, anywhere
        raise worker_error(error) or error from error
    finally:
        rows.close()
        logging.getLogger("lewel").removeHandler(handler)
        handler.close()


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
    """By default: on a CPU one, the other cores compute; for a GPU this process's share of the cores, at most 16."""
    if run.options.workers is not None:
        return run.options.workers
    if run.precision.device.type == "cpu":
        return 1
    return max(1, min(16, (os.cpu_count() or 1) // parallel.world()))


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
    every = options.save_every or min(run.plan.steps_per_epoch, SAVE_STEPS)
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
    return queries if queries.labels is not None else None


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


def _same_everywhere(module: nn.Module) -> None:
    """All processes start from process 0's tensors."""
    parallel.broadcast_([*module.parameters(), *module.buffers()])


def _write_config(run: Run) -> None:
    if parallel.is_main():
        facts = (
            f"seed {run.options.seed}, {run.plan.images} images, {parallel.world()} process(es), {run.precision.name}"
        )
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
