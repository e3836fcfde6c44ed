"""`lewel evaluate`: one protocol on the weights that are given, seed by seed, and what it leaves in --out.

    results.json                  protocol, weights, data and metrics of one set of weights; of several each in NAME/
    table.md, .csv, .json         one row for each
    page.html, confusion.png      to look at
    seed-0/, seed-1/, ...         each job's record and predictions.npz, and its checkpoint while it is not done
    lr-search/lr-0.02/, ...       the jobs of --lr-search

What is done is not done again: the same command on the same --out goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lewel import parallel, reading
from lewel.config import Evaluation
from lewel.console import Console
from lewel.data import remarks as image_remarks
from lewel.data.workers import default_workers
from lewel.engine import files, precision
from lewel.engine.loop import place as on_device
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate import (
    comparison,
    leakage,
    lr_search,
    page,
    predictions,
    results,
    tables,
    training,
)
from lewel.evaluate.cache import FeatureCache
from lewel.evaluate.changes import Changes, at_size, get_protocol
from lewel.evaluate.dense.opening import warn
from lewel.evaluate.job import Job
from lewel.evaluate.kinds import KINDS
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.remarks import remarks
from lewel.evaluate.results import Result, Run
from lewel.evaluate.subject import Subject, labels, open_subject
from lewel.evaluate.tasks import Knn
from lewel.shapes import Skip

JOB = "job.json"


class Evaluated(NamedTuple):
    """A result for each of the weights, and the files that were written: those to look at."""

    results: list[Result]
    files: list[Path]


def evaluate(name: str, options: Evaluation, changes: Changes, console: Console | None = None) -> Evaluated:
    """Run the task `name`, or go on with it.

    Raises UserError for what does not fit, before anything is written; Interrupted when asked to stop.
    """
    image_remarks.forget()
    protocol = get_protocol(name, changes)
    _check(options, protocol)
    on = precision.device(options.device)
    how = precision.choose("auto" if protocol.precision == "mixed" else protocol.precision, on)
    console = console or Console(stderr=True)
    parts = KINDS[type(protocol.task)].open(options, protocol, console)
    workers = default_workers(on) if options.workers is None else options.workers
    out = Path(options.out)
    entries = _entries(options, protocol, changes.image_size, out)
    parts = leakage.marked(parts, console)
    if training.facts(protocol.task, images=1):  # hours later its table says so too
        warn(leakage.sentences(each.facts for each in parts.values()), console)
    shared = _Shared(parts, how, workers, console, options.lr_search)
    for entry in entries:
        shared.check(entry)
    _check_weights(out, entries)
    with ExitStack() as opened:
        _take(out, opened)
        for directory in {out, *(entry.directory for entry in entries)}:
            files.clean(directory)
        for account in (entry.subject.account for entry in entries):
            if account.loaded:
                console.print(account.counts())
        found = [shared.result(entry) for entry in entries]
        found = comparison.compared(found, [_scores(*each) for each in zip(entries, found, strict=True)])
        written = [results.write(entry.directory, each) for entry, each in zip(entries, found, strict=True)]
        written += [*tables.write(out, found), *page.write(out, found)]
    return Evaluated(found, written)


class _Entry(NamedTuple):
    """A row of the table.  subject: that of the first seed.  protocol: at the size of the images."""

    label: str
    source: str
    subject: Subject
    protocol: Protocol
    directory: Path


class _Place(NamedTuple):
    """A job, and where it is done."""

    protocol: Protocol
    seed: int
    data: Divided[Any]
    directory: Path


def _entries(options: Evaluation, protocol: Protocol, image_size: int | None, out: Path) -> list[_Entry]:
    """One for each of the weights. Raises UserError for weights that the protocol cannot take."""
    found = []
    for label, source in zip(labels(options.weights), options.weights, strict=True):
        subject = open_subject(source, options.seed)
        if KINDS[type(protocol.task)].needs_map and subject.encoder is None:
            raise UserError(
                f"--weights {source}: {protocol.base} trains CNNs, this is a {subject.name}; "
                "take a task with frozen features, such as linear-byol or knn-k20-t0.07"
            )
        if subject.encoder is not None:
            KINDS[type(protocol.task)].fits(subject.encoder, protocol)
        sized = at_size(protocol, image_size, subject.image_size)
        subject.data(sized.image_size)  # raises for a size that the network does not take
        found.append(_Entry(label, source, subject, sized, out if len(options.weights) == 1 else out / label))
    return found


@dataclass
class _Shared:
    """What is the same for all weights.  parts: the data, by seed."""

    parts: dict[int, Divided[Any]]
    precision: Precision
    workers: int
    console: Console
    lr_search: bool

    @cached_property
    def held_out(self) -> Divided[Any]:
        """Of the first seed's data, for --lr-search: once, as its digest looks at every object."""
        seed, data = next(iter(self.parts.items()))
        return lr_search.held_out(data, seed)

    def check(self, entry: _Entry) -> None:
        """Raises UserError where there are jobs of another evaluation, before any of this one is done."""
        first = self._jobs(entry)[0]
        if not self.lr_search:
            _done(first.directory, self._identity(first, entry.subject))
            return
        for place in self._searching(entry):
            _done(place.directory, self._identity(place, entry.subject))
        outcomes = [first._replace(protocol=each) for each in lr_search.outcomes(entry.protocol).values()]
        faults = [fault for place in outcomes if (fault := self._fault(place, entry)) is not None]
        if len(faults) == len(outcomes):
            raise faults[0]

    def _fault(self, place: _Place, entry: _Entry) -> UserError | None:
        """Why the place cannot be taken for the job."""
        try:
            _done(place.directory, self._identity(place, entry.subject))
        except UserError as error:
            return error

    def result(self, entry: _Entry) -> Result:
        """All seeds of one set of weights, and their results.json."""
        told = f"{entry.protocol.name} on {entry.label}: {entry.subject.name}"
        self.console.print(told)
        runs, known, subject = [], FeatureCache(), entry.subject
        searched = self._search(entry) if self.lr_search else None
        if searched is not None:
            entry = entry._replace(protocol=searched.protocol)
        deterministic = self._is_deterministic(entry)
        for place in self._jobs(entry)[: 1 if deterministic else None]:
            if runs:
                subject = open_subject(entry.source, place.seed)  # random weights are others with another seed
            run = self._run(place, subject, known)
            runs.append(replace(run, training=run.training | {"lr_search": searched.facts}) if searched else run)
        return results.summarise(entry.label, entry.protocol, entry.subject, runs, deterministic)

    def _jobs(self, entry: _Entry) -> list[_Place]:
        return [
            _Place(entry.protocol, seed, data, entry.directory / f"seed-{seed}") for seed, data in self.parts.items()
        ]

    def _searching(self, entry: _Entry) -> list[_Place]:
        """The jobs of --lr-search, with the first seed."""
        seed, directory = next(iter(self.parts)), entry.directory / lr_search.DIRECTORY
        found = lr_search.candidates(entry.protocol).items()
        return [_Place(protocol, seed, self.held_out, directory / f"lr-{rate:g}") for rate, protocol in found]

    def _search(self, entry: _Entry) -> lr_search.Found:
        places = {place.protocol: place for place in self._searching(entry)}
        ranked = KINDS[type(entry.protocol.task)].ranked
        assert ranked is not None

        def measured(rate: float, protocol: Protocol) -> dict[str, Any]:
            self.console.print(f"--lr-search: {rate:g}")
            return self._run(places[protocol], entry.subject, FeatureCache()).metrics

        found = lr_search.search(entry.protocol, ranked, measured)
        self.console.print(f"--lr-search: {lr_search.told(found.facts)}")
        return found

    def _is_deterministic(self, entry: _Entry) -> bool:
        """kNN of weights that were read on a split that is given: nothing is drawn."""
        given = next(iter(self.parts.values())).facts["split"]["how"] == "given"
        return isinstance(entry.protocol.task, Knn) and given and entry.subject.account.loaded > 0

    def _run(self, place: _Place, subject: Subject, known: FeatureCache) -> Run:
        protocol, seed, data, directory = place
        files.clean(directory)
        identity, skipped = self._identity(place, subject), list[Skip]()
        done = _done(directory, identity)
        if done is None:
            directory.mkdir(parents=True, exist_ok=True)
            files.replace(directory / JOB, results.as_json({"format": results.FORMAT, "identity": identity}))
            how = self.precision
            on_device(subject.features, how.device)
            job = Job(protocol, subject, data, seed, directory, how, self.workers, self.console, skipped, known)
            began = time.perf_counter()
            with how.exact():
                metrics = dict(KINDS[type(protocol.task)].evaluate(job))
            done = {
                "data": data.facts,
                "metrics": metrics,
                "seconds": round(time.perf_counter() - began, 3),
                "precision": how.name,
                "device": str(how.device),
                "skipped": [skip._asdict() for skip in skipped],
                "measured": len(predictions.load(directory / predictions.NAME)["images"]),
                "training": training.facts(protocol.task, len(data.train)),
                "versions": results.versions(),
            }
            content = {"format": results.FORMAT, "identity": identity, "done": done}
            files.replace(directory / JOB, results.as_json(content))
        training.clear(directory)
        done["data"] = data.facts  # of where they lie now
        return Run(seed, subject.digest, **done)

    def _identity(self, place: _Place, subject: Subject) -> dict[str, Any]:
        """What decides a job's numbers. precision: as chosen; "mixed" is another on other hardware."""
        return {
            "protocol": place.protocol.facts()["digest"],
            "weights": subject.digest,
            "data": results.data_digest(place.data.facts),
            "seed": place.seed,
            "precision": self.precision.name,
            "normalisation": [list(subject.mean), list(subject.std)],
        }


def _scores(entry: _Entry, result: Result) -> comparison.Scores:
    per_image = KINDS[type(entry.protocol.task)].per_image
    return comparison.scores(result, entry.directory, lambda arrays: per_image(arrays, entry.protocol))


def _done(directory: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """What the job in the directory gave, if it is done. Raises UserError where it is another job's.

    A job that came to no checkpoint is no loss: its directory is taken over.
    """
    path = directory / JOB
    if not path.exists():
        return None
    advice = f"delete {directory}, or give another --out"
    found = reading.read_json(path, advice)
    reading.check_format(path, found.get("format", results.FORMAT), results.FORMAT)
    try:
        other = [name for name, value in identity.items() if found["identity"].get(name) != value]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged: it names no job; {advice}") from error
    if other and ("done" in found or any(directory.glob("checkpoints/step-*"))):
        raise UserError(f"--out: {directory} is of other {' and '.join(other)}; give another --out, or delete it")
    return None if other else found.get("done")


def _check_weights(out: Path, entries: Sequence[_Entry]) -> None:
    """Raises UserError for a directory with jobs of other weights."""
    there = {path.parent.parent for path in (*out.glob(f"seed-*/{JOB}"), *out.glob(f"*/seed-*/{JOB}"))}
    if others := sorted(map(str, there - {entry.directory for entry in entries})):
        raise UserError(
            f"--out {out}: there are results of other weights, in {', '.join(others[:3])}; "
            "give these --weights too, or another --out"
        )


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
    if options.lr_search and KINDS[type(protocol.task)].ranked is None:
        raise UserError(f"--lr-search: {protocol.base} has no search of its rate; leave it out, or give --lr")
    if parallel.place().world > 1:
        raise UserError("lewel evaluate runs in one process; start it without torchrun or srun")
    if Path(options.out).is_file():
        raise UserError(f"--out {options.out} is a file; give a directory, new or of the evaluation to go on with")


def describe(evaluated: Evaluated, out: str, console: Console) -> None:
    """The table on the screen, its remarks, the weights' notes, such as a licence, and what was written."""
    found = evaluated.results
    console.print(tables.table(found))
    notes = [f"{result.label}: {note}" for result in found for note in result.weights["notes"]]
    written = ", ".join(path.relative_to(out).as_posix() for path in evaluated.files)
    for line in (*tables.legend(found, tables.MARK), *remarks(found), *notes, f"in {out}: {written}"):
        console.print(line)
