"""`lewel bench`: from flags to a table on the screen and a file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from lewel import plan, recipes
from lewel.bench import compare, cost, data, executors, linear, memory, package, step, train, work
from lewel.bench.package import Folder, Setup
from lewel.config import Bench, LinearEpoch, Recipe, Timing
from lewel.console import Console, Table
from lewel.data.images import open_images
from lewel.data.loader import steps_per_epoch
from lewel.data.workers import default_workers
from lewel.engine import memory as engine_memory
from lewel.engine import precision
from lewel.engine import threads as engine_threads
from lewel.errors import UserError
from lewel.terminal import say

PAGE = 130  # columns of a file or a pipe
MADE_BATCHES = 4  # of JPEGs that are made


def bench_data(recipe: str, folder: str | None, images: int, rounds: int, threads: int, out: Path | None) -> None:
    """Raises UserError for numbers below 1, fewer than 3 rounds, an unknown recipe, or too few images."""
    compare.check_rounds(rounds)
    _at_least_one(images=images, threads=threads)
    chosen = recipes.get(recipe).data
    with _on_threads(threads):
        results = data.measure(chosen, folder, images, rounds)
        title = f"two views of {chosen.image_size} px, {recipe}; {_where(torch.device('cpu'))}, {threads} thread(s)"
        settings = {"recipe": recipe, "data": folder, "images": images, "rounds": rounds, "threads": threads}
        _show(compare.table(title, results), out, settings, [compare.as_dict(result) for result in results])


def bench_linear(options: LinearEpoch) -> None:
    """Raises UserError for numbers below 1, fewer than 3 rounds, an unknown encoder, or too few images."""
    compare.check_rounds(options.rounds)
    _at_least_one(
        images=options.images, image_size=options.image_size, classes=options.classes, threads=options.threads
    )
    with _on_threads(options.threads):
        results = linear.measure(options)
        title = (
            f"linear-byol, {options.encoder}, {options.image_size} px, {options.classes} classes, {options.precision}"
        )
        settings = {**dataclasses.asdict(options), "json": None}
        _show(compare.table(title, results), options.json, settings, [compare.as_dict(result) for result in results])


@contextmanager
def _on_threads(threads: int | None) -> Iterator[None]:
    """So many threads for PyTorch, and freed memory kept, as a training run does."""
    engine_memory.keep_freed()
    with engine_threads.limited(threads):
        yield


def bench_executors(recipe: str, folder: str | None, images: int, out: Path | None) -> None:
    """Raises UserError for numbers below 1, an unknown recipe, or too few images."""
    _at_least_one(images=images)
    chosen = recipes.get(recipe).data
    with data.images_of(folder, images) as found:
        differences = executors.measure(found, chosen)
    title = f"tensors against Pillow, levels of 255: {images} images, {chosen.image_size} px, {recipe}"
    settings = {"recipe": recipe, "data": folder, "images": images}
    _show(executors.table(title, differences), out, settings, executors.as_rows(differences))


def bench_step(options: Timing, numbers: plan.Overrides, switches: bool) -> None:
    """Raises UserError for what a recipe does not allow, and for contenders that do other work than the first."""
    recipe, setup = _timed(options, numbers)
    device = torch.device(setup.device)
    lines = step.entrants(recipe, dataclasses.replace(setup, machine=work.machine(device)), switches)
    with Console(stderr=True).status(f"building and timing {len(lines)} contenders"):
        results = step.measure(lines, options.rounds)
    title = f"a training step, {_what(lines[0].setup.recipe)}; {_where(device)}"
    _show(
        step.table(title, results, device),
        options.json,
        _settings(options, numbers),
        [compare.as_dict(r) for r in results],
    )
    _say_who_is_missing(lines[0].name)


def bench_memory(options: Bench, numbers: plan.Overrides, switches: bool) -> None:
    """Raises UserError as `bench_step`."""
    recipe, setup = _setup(options, numbers)
    if recipe.optimizer.batch_size < 4:
        raise UserError(f"--batch-size {recipe.optimizer.batch_size}: 4 or more, half of it is measured too")
    lines = step.entrants(recipe, setup, switches)
    with Console(stderr=True).status(f"measuring {len(lines)} contenders, twice each"):
        peaks = memory.measure(lines)
    title = f"peak memory, {_what(lines[0].setup.recipe)}; {_where(torch.device(setup.device))}"
    _show(memory.table(title, peaks), options.json, _settings(options, numbers), [memory.as_dict(p) for p in peaks])
    _say_who_is_missing(lines[0].name)


def bench_train(
    options: Timing,
    numbers: plan.Overrides,
    folder: str | None,
    workers: int | None,
    made_by: Sequence[Literal["pillow", "tensor", "resident"]],
) -> None:
    """Raises UserError as `bench_step`, and for images that cannot be used."""
    recipe, setup = _timed(options, numbers)
    count = _workers(workers, setup)
    with data.folder_of(folder, MADE_BATCHES * recipe.optimizer.batch_size) as found:
        steps_per_epoch(len(open_images(found)), recipe.optimizer.batch_size)
        setup = dataclasses.replace(setup, folder=Folder(found, count))
        with Console(stderr=True).status("building and timing"):
            results = train.measure(setup, made_by, options.rounds)
    title = f"training from files, {count} workers, {_what(recipe)}; {_where(torch.device(setup.device))}"
    settings = _settings(options, numbers) | {"data": folder, "workers": count}
    _show(train.table(title, results), options.json, settings, [compare.as_dict(r) for r in results])


def bench_cost(
    options: Timing,
    numbers: plan.Overrides,
    folder: str | None,
    workers: int | None,
    dims: Sequence[int],
    groups: Sequence[int],
) -> None:
    """Raises UserError as `bench_step`; --recipe tells the setting: in1k_100ep of lewel_b_in1k_100ep."""
    recipe, setup = _timed(options, numbers)
    suffix = cost.suffix(recipe.name)
    if folder is None and workers is not None:
        raise UserError(f"--workers {workers}: they read images, give --data too, or leave it out")
    numbers = dataclasses.replace(numbers, batch_size=recipe.optimizer.batch_size)
    if folder is not None:
        steps_per_epoch(len(open_images(folder)), recipe.optimizer.batch_size)
        setup = dataclasses.replace(setup, folder=Folder(folder, _workers(workers, setup)))
    setup = dataclasses.replace(setup, machine=work.machine(torch.device(setup.device)))
    precisions = ["fp32"] if setup.precision == "fp32" else ["fp32", setup.precision]
    title = f"what LEWEL costs, {_what(recipe)}; {_where(torch.device(setup.device))}"
    rows: list[cost.Row] = []
    with Console(stderr=True).live() as live:
        for row in cost.measure(setup, numbers, suffix, precisions, dims, groups, options.rounds):
            rows.append(row)
            live.update(cost.table(title, rows))
        live.update("")
    settings = _settings(options, numbers) | {"data": folder}
    _show(cost.table(title, rows), options.json, settings, [cost.as_dict(row) for row in rows])


def _setup(options: Bench, numbers: plan.Overrides) -> tuple[Recipe, Setup]:
    """The recipe with the flags' numbers, and a step of it. By default a batch is one that a CPU likes."""
    _at_least_one(threads=options.threads)
    device = precision.device(options.device)
    if numbers.batch_size is None:
        numbers = dataclasses.replace(numbers, batch_size=256 if device.type == "cuda" else 16)
    recipe = plan.resolve(recipes.get(options.recipe), numbers, cost.IMAGENET).recipe
    chosen = precision.choose(options.precision, device)
    assert chosen.name != "fp16"
    return recipe, Setup(recipe, str(device), chosen.name, threads=options.threads or torch.get_num_threads(), steps=1)


def _timed(options: Timing, numbers: plan.Overrides) -> tuple[Recipe, Setup]:
    """As `_setup`, with the steps of a unit."""
    compare.check_rounds(options.rounds)
    _at_least_one(steps=options.steps)
    recipe, setup = _setup(options, numbers)
    steps = options.steps or (10 if torch.device(setup.device).type == "cuda" else 1)
    return recipe, dataclasses.replace(setup, steps=steps)


def _workers(given: int | None, setup: Setup) -> int:
    """By default as in `lewel pretrain`."""
    if given is not None and given < 0:
        raise UserError(f"--workers {given}: must be 0 or more")
    return default_workers(torch.device(setup.device)) if given is None else given


def _at_least_one(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: must be 1 or more")


def _what(recipe: Recipe) -> str:
    statistics = "running" if package.folds(recipe) else "batch"
    target = f", target in {statistics} statistics"
    size, batch = recipe.data.image_size, recipe.optimizer.batch_size
    return f"{recipe.name}: {recipe.method.encoder.name}, {size} px, batch {batch}{target}"


def _where(device: torch.device) -> str:
    machine = compare.machine()
    return machine["gpu"] if device.type == "cuda" else f"{machine['processor']}, {machine['cores']} cores"


def _settings(options: Bench, numbers: plan.Overrides) -> dict[str, Any]:
    flags = {name: value for name, value in dataclasses.asdict(numbers).items() if value is not None}
    return {**dataclasses.asdict(options), "json": None, "numbers": flags}


def _say_who_is_missing(first: str) -> None:
    if first.startswith("lewel"):
        say(
            "nobody to compare with: the one-file version is LEWEL_B, for BYOL and MoCo v2 `pip install 'lewel[bench]'`"
        )


def _show(table: Table, out: Path | None, settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    console = Console()
    (console if console.is_terminal else Console(width=PAGE)).print(table)
    if out is not None:
        compare.save(out, " ".join(sys.argv), settings, results)
        say(f"wrote {out}")
