"""A run, checked and built, before its first step: what does not fit is said here, before anything is written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from lewel import build, parallel, plan, recipes
from lewel.config import Options, Recipe
from lewel.data import executor, resident
from lewel.data.images import Source, is_divided, open_images, relabelled
from lewel.engine import precision
from lewel.engine.identity import Identity
from lewel.engine.loop import place
from lewel.engine.optim import make_optimizer
from lewel.engine.state import Training
from lewel.errors import UserError
from lewel.evaluate import during
from lewel.interop import weights
from lewel.model.method import Method


@dataclass
class Run:
    """A run, checked and built, before its first step."""

    options: Options
    plan: plan.Plan
    images: Source
    evaluations: tuple[str, ...]  # none without `queries`
    queries: Source | None  # the labelled val split, where there is one and it will be evaluated on
    precision: precision.Precision
    executor: executor.Executor
    held: resident.Resident | None  # the images on the device, where its executor is "resident"
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

    def not_writable(self, reason: str) -> str:
        """What to tell the user when the run directory cannot be written."""
        return f"--run {self.directory} cannot be written ({reason}); make room, or give another --run"

    @cached_property
    def identity(self) -> Identity:
        content = dataclasses.asdict(self.recipe) | {
            "seed": self.options.seed,
            "images": _seen(self.images),
            "precision": self.precision.name,
            "executor": self.executor.name,
            "accumulate": self.options.accumulate,
        }
        if self.options.compile:  # absent otherwise, as from the runs of before
            content["compile"] = True
        return Identity(
            {k: v for k, v in content.items() if k not in ("epochs", "note")}, self.recipe.epochs, parallel.world()
        )


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
    _check_agreement(run)
    parallel.broadcast_([*run.method.parameters(), *run.method.buffers()])
    if parallel.rank():
        torch.manual_seed(options.seed + parallel.rank())  # or all processes would draw the same random maps
    return run


def _build(name: str, options: Options, overrides: plan.Overrides, console: Console) -> Run:
    device = precision.device(options.device, parallel.local_rank())
    _check_options(options)
    evaluations = during.asked(options.evaluate)
    if options.compile and not executor.can_compile(device):
        raise UserError(f"--compile on {device.type}: needs a C++ compiler and a CPU or a CUDA GPU; leave it out")
    divided = is_divided(options.data)
    images = open_images(options.data, "train" if divided else None)
    chosen = plan.resolve(recipes.get(name), overrides, len(images), parallel.world(), options.accumulate)
    _check_directory(Path(options.run), chosen.recipe)
    queries = _queries(options, images) if divided and evaluations else None
    torch.manual_seed(options.seed)
    method = build.method(chosen.recipe)
    place(method, device).train()
    if options.init != "random":
        account = weights.initialise(method, options.init)
        if parallel.is_main():
            console.print(str(account), highlight=False, markup=False)
    if options.compile:
        method.compile_encoders()
    chosen_precision = precision.choose(options.precision, device)
    training = Training(method, make_optimizer(method, chosen.recipe.optimizer), chosen_precision.scaler())
    held = _held(options, images, chosen.recipe, device, console)
    name = "resident" if held is not None else "pillow" if options.executor == "auto" else options.executor
    return Run(
        options, chosen, images, evaluations if queries is not None else (), queries, chosen_precision,
        executor.choose(name, device), held, training, console,
    )  # fmt: skip


def _held(
    options: Options, images: Source, recipe: Recipe, device: torch.device, console: Console
) -> resident.Resident | None:
    shown = console if parallel.is_main() else None
    if options.executor == "resident":
        return resident.hold(images, recipe.data, device, console=shown)
    if options.executor == "auto" and device.type == "cuda":
        try:
            return resident.hold(images, recipe.data, device, resident.AUTO_LIMIT, shown)
        except UserError as error:
            if shown is not None:
                shown.print(f"--executor auto takes pillow: {error}", highlight=False, markup=False)
    return None


def _check_options(options: Options) -> None:
    for name, least in (
        ("keep", 1),
        ("save_every", 1),
        ("log_every", 1),
        ("every", 1),
        ("workers", 0),
        ("seed", 0),
    ):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be {least} or more")


def _queries(options: Options, images: Source) -> Source | None:
    """The val split, when both splits have labels; a class without keys is an error here, before an evaluation is."""
    if images.labels is None:
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


def _check_agreement(run: Run) -> None:
    """All processes must see the same images in the same order, since each takes its share of one permutation, and
    make the views in the same way.
    """
    if parallel.world() == 1:
        return
    for what, of_this, otherwise in (
        ("--data", _seen(run.images), "give all machines the same files"),
        ("--executor auto", run.executor.name, "say which: --executor pillow"),
    ):
        found = parallel.all_gather_objects([of_this])
        told = "; ".join(f"process {rank}: {its}" for rank, its in enumerate(found))
        wrong = f"{what} is not the same on all processes ({told}); {otherwise}"
        parallel.raise_together(wrong if len(set(found)) > 1 else "")


def _seen(images: Source) -> str:
    """How many images, and a digest of their names, or of the pixels of those that lie in memory."""
    return f"{len(images)} images, digest {images.digest()[:12]}"
