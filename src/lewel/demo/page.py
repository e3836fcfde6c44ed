"""demo.html: the verdict in one sentence, the picture, the numbers, the curve, and the next three commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lewel import console
from lewel.demo import picture
from lewel.demo.findings import Findings, sentence
from lewel.evaluate.intervals import Interval
from lewel.loggers import jsonl
from lewel.visualize import report, template
from lewel.visualize.chart import chart

NAME = "demo.html"


class Table(NamedTuple):
    """Text in rows below heads; about: what the numbers are."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    about: str


class Command(NamedTuple):
    """What to type next, and what comes of it."""

    line: str
    about: str


def tables(found: Findings) -> list[Table]:
    """Accuracy, and where the maps peak if the method has maps."""
    heads = ("top-1, %", "untrained", "pretrained", "change (95 % interval)", "chance")
    rows = tuple(
        (score.title, _text(score.before), _text(score.after), _interval(score.change), _text(found.chance))
        for score in found.scores
    )
    about = f"Frozen features of {found.images} scenes that were not trained on. Labels are used here only."
    drawn = [Table(heads, rows, about)]
    if (points := found.pointing) is not None:
        heads = ("peaks on an object, %", "own map", "other scene's", "difference (95 %)", "chance")
        rows = tuple(
            (name, _text(peaks.own), _text(peaks.other), _interval(peaks.above), _text(points.chance))
            for name, peaks in (("untrained", points.untrained), ("pretrained", points.trained))
        )
        about = (
            f"One map over {points.images} scenes, {points.cells} x {points.cells} cells, chosen on the other half of "
            "them. Other scene's: the same map of another scene, with the same pull to the middle. Chance: any cell."
        )
        drawn.append(Table(heads, rows, about))
    return drawn


def on_screen(table: Table) -> console.Table:
    drawn = console.Table(*table.heads, box=None, pad_edge=False)
    for row in table.rows:
        drawn.add_row(*(cell.replace("\xa0", " ") for cell in row))
    return drawn


def duration_in_words(seconds: Mapping[str, float]) -> str:
    parts = ", ".join(f"{stage} {time / 60:.1f}" for stage, time in seconds.items())
    return f"{sum(seconds.values()) / 60:.1f} minutes: {parts}"


def render(run: Path, found: Findings, seconds: Mapping[str, float]) -> str:
    """The page as text, with its picture inside."""
    knn = report.series(jsonl.read(run / jsonl.NAME), ("knn/",))
    shown = run / picture.NAME
    return template.render(
        Path(__file__).with_name("page.html.j2"),
        title="lewel demo",
        sentence=sentence(found).replace(" %", "\xa0%"),
        setting=_setting(found),
        picture=report.embedded(shown) if found.pointing is not None else None,
        tables=tables(found),
        charts=[one for one in (chart("kNN top-1", "per cent, during pretraining", knn),) if one is not None],
        commands=commands(found),
        minutes=duration_in_words(seconds),
    )


def commands(found: Findings) -> tuple[Command, ...]:
    """Three, for a folder of one's own; the recipe for a CPU is named beside that for a GPU."""
    method = found.recipe.name.removesuffix("_demo")
    return (
        Command(
            f"lewel pretrain {method}_folder --data photos --out runs/a",
            f"ResNet-50 at 224 px, one GPU. On a CPU: {method}_tiny. --dry-run says how long it takes.",
        ),
        Command(
            "lewel evaluate linear-fast --weights random:runs/a runs/a --data photos --split auto --out eval",
            "This table for your images: photos/CLASS/... has the labels.",
        ),
        Command("lewel neighbours --weights runs/a --data photos --out neighbours.html", "Nearest images, as a page.")
        if found.pointing is None
        else Command("lewel maps --run runs/a --data photos", "Where it looks in your images: maps.png."),
    )


def _setting(found: Findings) -> str:
    recipe = found.recipe
    return (
        f"{found.method}, {recipe.method.encoder.name} at {recipe.data.image_size} px, {recipe.epochs} epochs in "
        f"{found.precision} on synthetic scenes with ten classes of objects. Colours and places are random: shape and "
        "texture tell the class."
    )


def _text(value: float) -> str:
    return f"{value:.1f}"


def _interval(value: Interval) -> str:
    """ "+19.2 (15.2 to 23.2)", which breaks before the bracket only."""
    return f"{value.mean:+.1f} ({value.low:.1f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{value.high:.1f})"
