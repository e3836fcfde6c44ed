"""`lewel evaluate maps`: where the maps of a run look, against masks; what is measured, `looking` says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lewel import config
from lewel.console import Console
from lewel.engine import files, precision
from lewel.errors import UserError
from lewel.evaluate import results
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense import tasks
from lewel.evaluate.maps import bootstrap, where_table
from lewel.evaluate.maps.looking import Looking, Measured, shown_side
from lewel.evaluate.maps.scenery import open_scenery
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.subject import digest, labels
from lewel.interop import runs
from lewel.visualize.maps import varying_term


@dataclass(frozen=True)
class Weights:
    """A run, for results.json: the whole branch, as the maps are made by its projector."""

    source: str
    loaded: runs.Loaded

    def facts(self) -> dict[str, Any]:
        encoder = self.loaded.recipe.method.encoder
        return {
            "source": self.source,
            "architecture": encoder.name,
            "stem": encoder.stem,
            "recipe": self.loaded.recipe.name,
            "digest": digest(self.loaded.trained.online.state_dict()),
            "initial_digest": digest(self.loaded.initial.online.state_dict()),
            "image_size": self.loaded.recipe.data.image_size,
            "notes": [],
        }


def evaluate(
    name: str, options: config.Evaluation, changes: Changes, console: Console | None = None
) -> list[results.Result]:
    """Measure, and leave in --out results.json of each run, table.md, table.csv and where.png.

    Raises UserError for what does not fit, before anything is written.
    """
    protocol = get_protocol(name, changes)
    _check(options)
    named = dict(zip(labels(options.weights), options.weights, strict=True))
    loaded = {label: Weights(source, runs.load(Path(source))) for label, source in named.items()}
    out, console = Path(options.out), console or Console(stderr=True)
    jobs = [
        _Job(
            label,
            weights,
            at_side(protocol, changes.image_size, weights.loaded.recipe.data.image_size),
            varying_term(weights.loaded.trained),
            out if len(named) == 1 else out / label,
        )
        for label, weights in loaded.items()
    ]
    for job in jobs:
        _check_replaceable(job.directory)
    files.check_folder(out)
    found = [_run(job, options, console) for job in jobs]
    where_table.write(out, found)
    return found


class _Job(NamedTuple):
    label: str
    weights: Weights
    protocol: Protocol
    term: str
    directory: Path


def _check_replaceable(directory: Path) -> None:
    """Raises UserError where results of another task are."""
    if (path := directory / results.RESULTS).is_file():
        there = results.read(path)["protocol"].get("base")
        if there != "maps":
            raise UserError(f"--out: {directory} has results of {there}; give another --out, or delete it")


def describe(found: Sequence[results.Result], out: str, console: Console) -> None:
    """The table on the screen, and what was written."""
    for result in found:
        for table in where_table.tables(result):
            console.print(table)
        data = result.runs[0].data
        told = f"{data['measured']} images; {data['left_out']} more have no objects that are large enough"
        console.print(told)
    each = "in a folder each: results.json, where.png; " if len(found) > 1 else "results.json, where.png, "
    console.print(f"in {out}: {each}table.md, table.csv")


def at_side(protocol: Protocol, given: int | None, trained: int) -> Protocol:
    """The protocol at the side that is asked for, else `scale` times that of the training, in whole cells of 32."""
    own = shown_side(protocol.task_as(tasks.Maps), trained)
    side = own if given is None else given
    if side < 32 or side % 32:
        raise UserError(f"--image-size {side}: must be a multiple of 32")
    changed = (*protocol.changes, f"image_size={side}") if side != own else protocol.changes
    return replace(protocol, image_size=side, changes=changed)


def _check(options: config.Evaluation) -> None:
    for flag in ("weights", "data", "out"):
        if not getattr(options, flag):
            raise UserError(f"--{flag} is missing: lewel evaluate maps --weights RUN --data VOC|scenes --out DIR")
    plain = config.Evaluation()
    for flag in ("split", "group_by", "subset", "seeds"):
        if (value := getattr(options, flag)) != getattr(plain, flag):
            raise UserError(f"--{flag.replace('_', '-')} {value}: maps takes all images, once; leave it out")
    if Path(options.out).is_file():
        raise UserError(f"--out {options.out} is a file; give a directory")


# -- one run


def _run(job: _Job, options: config.Evaluation, console: Console) -> results.Result:
    label, weights, protocol, term, directory = job
    task, side, began = protocol.task_as(tasks.Maps), protocol.image_size, time.perf_counter()
    assert side is not None
    scenery = open_scenery(options.data, task.scenes, side, options.seed, console)
    on = precision.device(options.device)
    looking = Looking(weights.loaded, term, task, side, options.seed, on)
    console.print(f"{protocol.name} on {label}: {term} maps, {side} px")
    measured = looking.measure(scenery, console)
    metrics = summary(measured, task.resamples, options.seed)
    run = results.Run(
        options.seed,
        weights.facts()["digest"],
        {"data": options.data, "val": scenery.facts(), "measured": len(measured.names), "left_out": measured.left_out},
        metrics,
        round(time.perf_counter() - began, 3),
        "fp32",
        str(on),
        [skip._asdict() for skip in measured.skipped],
        results.versions(),
        measured=len(measured.names),
        training={},
    )
    found = results.summarise(label, protocol, weights, [run])
    directory.mkdir(parents=True, exist_ok=True)
    results.write(directory, found)
    files.replace(directory / where_table.PICTURE, where_table.cases(looking, scenery, measured))
    return found


def summary(measured: Measured, resamples: int, seed: int) -> dict[str, Any]:
    """The trained maps' means; every kind's with intervals; and how far the trained ones are above the others."""
    drawn = bootstrap.draws(len(measured.names), resamples, seed)
    trained = measured.values["trained"]

    def of(values: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
        return {name: bootstrap.interval(row, drawn)._asdict() for name, row in values.items()}

    kinds = {kind: of(values) for kind, values in measured.values.items()}
    others = {kind: values for kind, values in measured.values.items() if kind != "trained"}
    return {
        **{name: interval["mean"] for name, interval in kinds["trained"].items()},
        "kinds": kinds,
        "trained_above": {kind: of({n: trained[n] - row for n, row in rows.items()}) for kind, rows in others.items()},
        "chosen_maps": list(measured.maps),
    }
