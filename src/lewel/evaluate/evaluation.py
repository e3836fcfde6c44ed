"""`lewel evaluate`: one protocol on the weights that are given, seed by seed, and what it leaves in --out.

    results.json                  protocol, weights, data and metrics of one set of weights; of several each in NAME/
    table.md, .csv, .json         one row for each
    page.html, confusion.png      to look at
    seed-0/, seed-1/, ...         each job's record, and its checkpoint while it is not done

What is done is not done again: the same command on the same --out goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from lewel import parallel
from lewel.config import Evaluation
from lewel.data.workers import default_workers
from lewel.engine import files, precision
from lewel.engine.loop import place
from lewel.errors import UserError
from lewel.evaluate import finetune, knn, labelled, linear, linear_fast, page, protocols, results, subset
from lewel.evaluate.job import Job, Task
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import Changes, Finetune, Protocol
from lewel.evaluate.results import Result, Run
from lewel.evaluate.subject import Subject, labels, open_subject
from lewel.shapes import Skip

TASKS: dict[type, Task] = {
    protocols.Knn: knn.evaluate,
    protocols.LinearFast: linear_fast.evaluate,
    protocols.Linear: linear.evaluate,
    protocols.Finetune: finetune.evaluate,
}
JOB = "job.json"


def evaluate(name: str, options: Evaluation, changes: Changes, console: Console | None = None) -> list[Result]:
    """Run the task `name`, or go on with it; returns a result for each of options.weights.

    Raises UserError for what does not fit, before anything is written; Interrupted when asked to stop.
    """
    protocol = protocols.get(name, changes)
    _check(options, protocol)
    data = labelled.open_divided(options.data, options.split, options.group_by, options.val_share, options.seed)
    _check_targets(protocol, data)
    on = precision.device(options.device)
    shared = _Shared(options, protocol, changes.image_size, data, on, console or Console(stderr=True))
    out = Path(options.out)
    named = dict(zip(labels(options.weights), options.weights, strict=True))
    first = {label: open_subject(source, options.seed) for label, source in named.items()}  # errors before anything
    with ExitStack() as opened:
        _take(out, opened)
        found = [
            shared.result(label, named[label], subject, out if len(named) == 1 else out / label)
            for label, subject in first.items()
        ]
        results.write_tables(out, found)
        page.write(out, found)
    return found


@dataclass
class _Shared:
    """What is the same for all weights and seeds."""

    options: Evaluation
    protocol: Protocol
    image_size: int | None
    data: Divided
    device: torch.device
    console: Console

    def result(self, label: str, source: str, subject: Subject, directory: Path) -> Result:
        """All seeds of one set of weights, and their results.json."""
        protocol = protocols.at_size(self.protocol, self.image_size, subject.image_size)
        subject.data(protocol.image_size)  # raises for a size that the network does not take
        self.console.print(f"{protocol.name} on {label}: {subject.name}", highlight=False, markup=False)
        runs, known = [], {}
        for seed in range(self.options.seed, self.options.seed + self.options.seeds):
            if seed != self.options.seed:
                subject = open_subject(source, seed)  # random weights are others with another seed
            runs.append(self._run(protocol, subject, seed, directory / f"seed-{seed}", known))
        found = results.summarise(label, protocol, subject, runs)
        results.write(directory, found)
        return found

    def _run(self, protocol: Protocol, subject: Subject, seed: int, directory: Path, known: dict[Any, Any]) -> Run:
        data, skipped = self._part(protocol, seed), list[Skip]()
        identity = {
            "protocol": protocol.facts()["digest"],
            "weights": subject.digest,
            "data": results.data_digest(data.facts),
            "seed": seed,
        }
        done = _begin(directory, identity)
        if done is None:
            on = precision.choose("auto" if protocol.precision == "mixed" else protocol.precision, self.device)
            workers = default_workers(self.device) if self.options.workers is None else self.options.workers
            place(subject.features, self.device)
            job = Job(protocol, subject, data, seed, directory, on, workers, self.console, skipped, known)
            began = time.perf_counter()
            metrics = dict(TASKS[type(protocol.task)](job))
            done = {
                "metrics": metrics,
                "seconds": round(time.perf_counter() - began, 3),
                "precision": on.name,
                "device": str(self.device),
                "skipped": [skip._asdict() for skip in skipped],
                "versions": results.versions(),
            }
            files.replace(directory / JOB, results.as_json({"identity": identity, "done": done}))
            shutil.rmtree(directory / "checkpoints", ignore_errors=True)
        return Run(seed, subject.digest, data.facts, **done)

    def _part(self, protocol: Protocol, seed: int) -> Divided:
        """The data with the share of the training images that the protocol takes."""
        task = protocol.task
        if not isinstance(task, Finetune) or task.fraction == 1:
            return self.data
        train, listed = self.data.train, self.options.subset
        chosen = subset.by_share(train, task.fraction, seed) if listed is None else subset.by_list(train, listed)
        subset.check_share(chosen.images, train, task.fraction)
        return Divided(chosen.images, self.data.val, {**self.data.facts, "subset": chosen.facts})


def _begin(directory: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What the job in the directory gave, if it is done. Raises UserError where it is another job's."""
    path = directory / JOB
    if path.is_file():
        found = json.loads(path.read_bytes())
        if other := [name for name, value in identity.items() if found["identity"].get(name) != value]:
            raise UserError(f"--out: {directory} is of other {' and '.join(other)}; give another --out, or delete it")
        return found.get("done")
    directory.mkdir(parents=True, exist_ok=True)
    files.replace(path, results.as_json({"identity": identity}))
    return None


def _take(out: Path, opened: ExitStack) -> None:
    """The directory, for this process alone."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = opened.enter_context(files.locked(out / ".lock"))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}; give another one") from error
    if not free:
        raise UserError(f"--out {out} is in use by another process; wait for its end, or give another --out")


def _check(options: Evaluation, protocol: Protocol) -> None:
    for flag in ("weights", "data", "out"):
        if not getattr(options, flag):
            raise UserError(f"--{flag} is missing: lewel evaluate TASK --weights RUN --data DIR --out DIR")
    for flag, least in (("seeds", 1), ("seed", 0), ("workers", 0)):
        value = getattr(options, flag)
        if value is not None and value < least:
            raise UserError(f"--{flag} {value}: must be {least} or more")
    if not 0 < options.val_share < 1:
        raise UserError(f"--val-share {options.val_share:g}: must be between 0 and 1")
    if options.subset is not None and not (isinstance(protocol.task, Finetune) and protocol.task.fraction < 1):
        raise UserError(f"--subset {options.subset}: {protocol.base} takes all labels; leave it out")
    if parallel.place().world > 1:
        raise UserError("lewel evaluate runs in one process; start it without torchrun or srun")
    if Path(options.out).is_file():
        raise UserError(f"--out {options.out} is a file; give a directory, new or of the evaluation to go on with")


def _check_targets(protocol: Protocol, data: Divided) -> None:
    wanted = isinstance(protocol.task, Finetune) and protocol.task.multilabel
    if wanted and not data.train.is_multilabel:
        raise UserError(f"{protocol.base} needs attributes, in CelebA's layout; --data has classes: take another task")
    if data.train.is_multilabel and not wanted:
        raise UserError(f"{protocol.base} needs classes; --data has attributes: take faces-attributes")


def describe(found: Sequence[Result], out: str, console: Console) -> None:
    """The table on the screen, the weights' notes, such as a licence, and what was written."""
    console.print(results.table(found), highlight=False)
    for result in found:
        for note in result.weights["notes"]:
            console.print(f"{result.label}: {note}", highlight=False, markup=False)
    each = "in a folder each: results.json, confusion.png; " if len(found) > 1 else "results.json, "
    console.print(f"in {out}: {each}table.md, table.csv, table.json, page.html", highlight=False, markup=False)
