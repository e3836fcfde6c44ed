"""page.html: a table of what was evaluated, and everything behind its numbers, in one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lewel.engine import files
from lewel.evaluate import breakdown, confusion, curves, tables
from lewel.evaluate.baselines import baselines
from lewel.evaluate.dense import gallery
from lewel.evaluate.remarks import remarks
from lewel.evaluate.results import Result, Run, title
from lewel.visualize import report, template
from lewel.visualize.chart import number

PAGE = "page.html"
FIRST_SKIPPED = 10
FIRST_CASES = 12  # pictures that are not folded away
SHOWN = (*breakdown.KINDS, "grid")  # in sections of their own
NOTES = {
    "best_of_grid_top1": "chosen on val, so optimistic; not the protocol's number",
    "top1_last": "after the last epoch",
    "mean_accuracy_last": "after the last epoch",
}


class Cell(NamedTuple):
    """between: the ends of its 95 % interval."""

    text: str
    between: str
    best: bool


class Row(NamedTuple):
    """Of the table: one of the weights."""

    label: str
    architecture: str
    protocol: str
    pixels: str
    cells: tuple[Cell, ...]
    seeds: str
    time: str


class Section(NamedTuple):
    """Facts that are folded away: names with values, and of weights their notes, seeds and skipped images."""

    title: str
    facts: list[tuple[str, str]]
    notes: Sequence[str] = ()
    runs: Sequence[Run] = ()
    skipped: Sequence[Mapping[str, str]] = ()


class Mistakes(NamedTuple):
    """file, picture: its path and a data URL; none of too many classes."""

    label: str
    file: str
    picture: str
    most_frequent: list[confusion.Confusion]


class Cases(NamedTuple):
    """Pictures of one of the weights, by its first seed: data URLs with the images' names and scores."""

    label: str
    seed: int
    pictures: list[tuple[str, str]]


def write(out: Path, found: Sequence[Result]) -> list[Path]:
    """page.html, and a confusion.png for each of the weights whose task has classes; of several each lies in NAME/.

    Returns what was written.
    """
    directories = {result.label: out / result.label if len(found) > 1 else out for result in found}
    mistakes = [each for result in found if (each := _mistakes(result, out, directories[result.label])) is not None]
    text = page(directories, found, mistakes)
    files.replace(out / PAGE, text.encode("utf-8", "backslashreplace"))
    return [out / PAGE, *(out / each.file for each in mistakes if each.file)]


def page(directories: Mapping[str, Path], found: Sequence[Result], mistakes: Sequence[Mistakes]) -> str:
    """The page as text. directories: of each label, with its seeds' records."""
    first = found[0]
    data = first.runs[0].data
    columns = tables.names(found)
    return template.render(
        Path(__file__).with_name("page.html.j2"),
        title=f"{' and '.join(dict.fromkeys(r.protocol['name'] for r in found))} on {_data_name(data)}",
        source=first.protocol.get("source", ""),
        data=str(data.get("data", "")),
        counts=_counts(data),
        colours={result.label: place for place, result in enumerate(found)},
        columns=[(title(name), NOTES.get(name, "")) for name in columns],
        rows=rows(found, columns),
        baselines=[
            (name, [_percent(values.get(column)) for column in columns])
            for name, values in baselines(first, directories[first.label])
        ],
        legend=tables.legend(found, "Bold"),
        remarks=remarks(found),
        charts=curves.charts(directories, found),
        seeds=max(len(result.runs) for result in found),
        deterministic=all(result.deterministic for result in found),
        grids=[each for each in map(breakdown.grid, found) if each is not None],
        parts=breakdown.parts(found),
        mistakes=mistakes,
        most_classes=confusion.MOST_CLASSES,
        cases=[each for result in found if (each := _cases(result, directories[result.label])).pictures],
        first_cases=FIRST_CASES,
        sections=sections(found),
        first_skipped=FIRST_SKIPPED,
    )


def rows(found: Sequence[Result], columns: Sequence[str]) -> list[Row]:
    """One for each of the weights."""
    return [
        Row(
            result.label,
            _architecture(result.weights),
            result.protocol["name"],
            tables.pixels(result),
            tuple(
                Cell(tables.shown(result, name), tables.between(result, name), name in result.best) for name in columns
            ),
            tables.seeds(result),
            _time(sum(run.seconds for run in result.runs)),
        )
        for result in found
    ]


def sections(found: Sequence[Result]) -> list[Section]:
    """Each protocol, each of the weights with its seeds, the data, the versions."""
    protocols = {result.protocol["digest"]: result.protocol for result in found}
    run, *others = found[0].runs
    data = f"Data, of seed {run.seed}" if others else "Data"
    return [
        *(Section(f"Protocol {facts['name']}", _facts(facts)) for facts in protocols.values()),
        *(_weights(result) for result in found),
        Section(data, _facts(_without_lists(run.data)), skipped=_left_out(run.data)),
        Section("Versions", _facts(found[0].runs[0].versions)),
    ]


def _left_out(data: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Objects and faces of both parts that cannot be used."""
    return [each for part in ("train", "val") for each in data.get(part, {}).get("left_out", [])]


def _without_lists(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data's facts but for those that `_left_out` gives."""
    return {
        name: {key: each for key, each in value.items() if key != "left_out"} if isinstance(value, dict) else value
        for name, value in data.items()
    }


def _weights(result: Result) -> Section:
    facts = {name: value for name, value in result.weights.items() if name != "notes"}
    more = {name: value for name, value in result.metrics.items() if name not in {*SHOWN, *result.numbers()}}
    skipped = {skip["path"]: skip for run in result.runs for skip in run.skipped}
    return Section(
        f"Weights {result.label}",
        [*_facts(facts), *_facts(more)],
        result.weights.get("notes", ()),
        result.runs,
        list(skipped.values()),
    )


def _mistakes(result: Result, out: Path, directory: Path) -> Mistakes | None:
    """Writes confusion.png into the weights' directory; None where the task has no classes."""
    counts = confusion.counts(result, directory)
    if counts is None:
        return None
    names = tuple(result.metrics["per_class"])
    picture = confusion.write(directory, result, counts, names)
    listed = confusion.most_frequent(counts, names, len(result.runs))
    if picture is None:
        return Mistakes(result.label, "", "", listed)
    return Mistakes(result.label, picture.relative_to(out).as_posix(), report.embedded(picture), listed)


def _cases(result: Result, directory: Path) -> Cases:
    seed = result.runs[0].seed
    shown = gallery.read(directory / f"seed-{seed}")
    return Cases(result.label, seed, [(report.embedded(each.file), f"{each.name}: {each.score}") for each in shown])


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted names and texts, in the form that results.json has."""
    return [
        (name, "none" if text in ("", "{}") else text) for name, text in report.flat(json.loads(json.dumps(content)))
    ]


def _counts(data: Mapping[str, Any]) -> str:
    """ "5,000 images of train, 2,500 of val, 50 classes"; of what is known."""
    told = []
    for part in ("train", "val"):
        images = data[part].get("images") if isinstance(data.get(part), dict) else None
        told += [f"{images:,} images of {part}"] if images is not None else []
    classes, attributes = data.get("classes"), data.get("attributes")
    told += [f"{classes:,} classes"] if isinstance(classes, int) else []
    told += [f"{len(attributes):,} attributes"] if isinstance(attributes, list) else []
    return ", ".join(told)


def _data_name(data: Mapping[str, Any]) -> str:
    path = str(data.get("data", "")).rstrip("/\\")
    return path.replace("\\", "/").rsplit("/", 1)[-1] or "data"


def _architecture(weights: Mapping[str, Any]) -> str:
    name = str(weights.get("architecture", ""))
    return f"{name}, small stem" if weights.get("stem") == "small" else name


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{number(round(seconds, 1))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
