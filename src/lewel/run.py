"""A run, checked and built, before its first step: what does not fit is said here, before anything is written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lewel import agreement, build, footprint, parallel, plan, reading, recipes
from lewel.config import Options, Recipe
from lewel.console import Console
from lewel.data import executor, resident, sample
from lewel.data.decode import printable
from lewel.data.images import Source, is_divided, open_images, relabelled
from lewel.engine import precision
from lewel.engine.identity import Identity, flat
from lewel.engine.loop import place
from lewel.engine.optim import make_optimizer
from lewel.engine.state import Training
from lewel.errors import UserError
from lewel.evaluate import during
from lewel.footprint import Footprint
from lewel.interop import weights
from lewel.loggers import opening
from lewel.loggers.start import IDS
from lewel.model.encoder import Encoder
from lewel.model.method import Method
from lewel.recipes import config_file

_OWN_FILES = (
    config_file.NAME, "metrics.jsonl", "train.log", "skipped.jsonl", "encoder.safetensors", "report.html", IDS,
)  # fmt: skip
_BESIDE_RECIPE = frozenset(  # what an identity holds of the run in one dict with the fields of its recipe
    {"seed", "images", "precision", "executor", "accumulate", "compile", "contents", "all_contents"}
)


@dataclass
class Run:
    """A run, checked and built, before its first step."""

    options: Options
    plan: plan.Plan
    images: Source
    evaluations: tuple[str, ...]  # none without `queries`
    queries: Source | None  # the labelled val split, where there is one and it will be evaluated on
    unmeasured: str  # why the evaluations that were asked for cannot be made; '' where they can
    precision: precision.Precision
    executor: executor.Executor
    held: resident.Resident | None  # the images on the device, where its executor is "resident"
    training: Training
    console: Console
    footprint: Footprint | None  # of a step; none where it is small beside what is free
    loggers: tuple[opening.Opener, ...]  # of --logger
    contents: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the images, for the identity

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def method(self) -> nn.Module:
        return self.training.module

    @property
    def encoder(self) -> Encoder:
        return build.encoder(self.method)

    @property
    def directory(self) -> Path:
        return Path(self.options.run)

    def not_writable(self, reason: str) -> str:
        """What to tell the user when the run directory cannot be written."""
        return f"--out {self.directory} cannot be written ({reason}); give another --out"

    @cached_property
    def identity(self) -> Identity:
        content: dict[str, Any] = {
            "seed": self.options.seed,
            "images": _seen(self.images),
            "precision": self.precision.name,
            "executor": self.executor.name,
            "accumulate": self.options.accumulate,
        }
        content |= self.contents
        if self.options.compile:  # absent otherwise, as from the runs of before
            content["compile"] = True
        assert content.keys() <= _BESIDE_RECIPE
        return Identity(_decisive(self.recipe) | content, self.recipe.epochs, parallel.world())


def prepare(recipe: str | Recipe, options: Options, overrides: plan.Overrides, console: Console) -> Run:
    """Check and build, in the order of what costs least; writes nothing.

    Raises UserError on every process for what one of them finds.
    """
    agreement.check_commands(recipe if isinstance(recipe, str) else recipe.name, options, overrides)
    run, problem = None, ""
    try:
        run = _build(recipe, options, overrides, console)
    except UserError as error:
        problem = str(error)
    parallel.raise_together(problem)
    assert run is not None
    run.contents = _contents(run)
    _check_agreement(run)
    parallel.broadcast_([*run.method.parameters(), *run.method.buffers()])
    if parallel.rank():
        torch.manual_seed(options.seed + parallel.rank())  # or all processes would draw the same random maps
    return run


def _build(recipe: str | Recipe, options: Options, overrides: plan.Overrides, console: Console) -> Run:
    device = precision.device(options.device, parallel.local_rank())
    _check_options(options)
    evaluations, loggers = during.asked(options.evaluate), opening.parse(options.log)
    if options.compile and not executor.can_compile(device):
        raise UserError(f"--compile on {device.type}: needs a C++ compiler and a CPU or a CUDA GPU; leave it out")
    divided = is_divided(options.data)
    images = open_images(options.data, "train" if divided else None)
    chosen = plan.resolve(recipes.get(recipe), overrides, len(images), parallel.world(), options.accumulate)
    _check_directory(Path(options.run), chosen.recipe)
    queries, unmeasured = _queries(options, images, divided) if evaluations else (None, "")
    torch.manual_seed(options.seed)
    method = build.method(chosen.recipe)
    place(method, device).train()
    if options.init != "random":
        account = weights.initialise(method, options.init)
        if parallel.is_main():
            console.print(str(account))
    if options.compile:
        if not isinstance(method, Method):
            raise UserError(f"--compile: {chosen.recipe.name} is no sum of terms, the only method that it knows")
        method.compile_encoders()
    chosen_precision = precision.choose(options.precision, device)
    memory = footprint.check(method, chosen, chosen_precision, options.force)
    training = Training(method, make_optimizer(method, chosen.recipe.optimizer), chosen_precision.scaler())
    held = _held(options, images, chosen.recipe, device, console)
    name = "resident" if held is not None else "pillow" if options.executor == "auto" else options.executor
    return Run(
        options, chosen, images, evaluations if queries is not None else (), queries, unmeasured, chosen_precision,
        executor.choose(name, device), held, training, console, memory, loggers,
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
                shown.print(f"--executor auto takes pillow: {error}")
    return None


def _check_options(options: Options) -> None:
    for name, least in (
        ("keep", 1),
        ("save_every", 1),
        ("log_every", 1),
        ("every", 1),
        ("workers", 0),
        ("seed", 0),
        ("timeout", 1),
    ):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be {least} or more")
    if not 0 <= options.max_unreadable <= 1:
        raise UserError(f"--max-unreadable {options.max_unreadable:g}: must be a share of the images, 0 to 1")


def _queries(options: Options, images: Source, divided: bool) -> tuple[Source | None, str]:
    """The val split, numbered as the train split, or why it cannot be evaluated on: training needs no labels."""
    if not divided:
        return None, f"{printable(options.data)} is not divided into train and val"
    if images.labels is None:
        return None, images.unlabelled
    try:
        queries = open_images(options.data, "val")
        if queries.labels is None:
            return None, queries.unlabelled
        return relabelled(queries, images.classes or []), ""
    except UserError as error:
        return None, str(error)


def _check_directory(run: Path, recipe: Recipe) -> None:
    """A run directory belongs to one recipe, also before its first checkpoint."""
    if run.exists() and not run.is_dir():
        raise UserError(f"--out {run} is a file; give a directory, new or of the run to go on with")
    for name in _OWN_FILES:
        if reading.is_other(run / name):
            raise UserError(f"--out {run}: {run / name} is not a regular file; remove it, or give another --out")
    config = run / config_file.NAME
    if config.exists() and not any((run / "checkpoints").glob("step-*")):
        there = config_file.read(config)
        if there != config_file.from_yaml(config_file.to_yaml(recipe)):  # lists of a user's recipe as tuples
            raise UserError(
                f"--out {run} is of {there.name} with other numbers; give the recipe and flags in its config.yaml, "
                "or another --out"
            )


def as_written_now(saved: Identity) -> Identity:
    """An identity that an older lewel may have saved, in today's form: newer fields have their defaults.

    Raises UserError for a newer lewel's.
    """
    beside = {name: value for name, value in saved.recipe.items() if name in _BESIDE_RECIPE}
    content = {name: value for name, value in saved.recipe.items() if name not in _BESIDE_RECIPE}
    recipe = config_file.from_dict(content | {"epochs": saved.epochs}, "the recipe in the run's checkpoint")
    return dataclasses.replace(saved, recipe=_decisive(recipe) | beside)


def _decisive(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe must stay the same: all but the note, and the epochs, which an identity has by themselves."""
    return {name: value for name, value in config_file.to_dict(recipe).items() if name not in ("epochs", "note")}


def _check_agreement(run: Run) -> None:
    """All processes must train the same recipe on the same images in the same order, since each takes its share of one
    permutation, make the views in the same way, and evaluate together.
    """
    known = dict(run.identity.recipe)
    agreement.check({"--data": known.pop("images")}, "give all machines the same files")
    for name, advice in (("executor", "say which: --executor pillow"), ("precision", "say which: --precision fp32")):
        agreement.check({f"--{name}": known.pop(name)}, advice)
    queries = "none" if run.queries is None else _seen(run.queries)
    rest = {"the device": run.precision.device.type, "--data's val": queries, "steps": run.plan.total_steps}
    agreement.check(rest | flat(known), "start all processes with one command, on the same files")


def _contents(run: Run) -> dict[str, Any]:
    """Checksums of the images, read by process 0 alone."""
    found: dict[str, Any] = {}
    if parallel.is_main():
        if sampled := sample.contents(run.images):
            found["contents"] = sampled
        if run.options.check_images == "all":
            run.console.print(f"--check-images all: reading {len(run.images)} images")
            found["all_contents"] = sample.digest_of_all(run.images)
    return parallel.all_gather_objects([found])[0]


def _seen(images: Source) -> str:
    """How many images, and a digest of their names, or of the pixels of those that lie in memory."""
    return f"{len(images)} images, digest {images.digest()[:12]}"
