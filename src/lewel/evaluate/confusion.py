"""Which classes are taken for which: the confusion matrix as a picture, and its largest entries as a list."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int64
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lewel.engine import files
from lewel.evaluate import predictions
from lewel.evaluate.results import Result
from lewel.terminal import printable
from lewel.visualize import style
from lewel.visualize.text import shortened

NAME = "confusion.png"
MOST_CLASSES = 1000  # in the picture
MOST_NAMES = 60  # classes with their names beside the matrix
MOST_NUMBERS = 12  # classes with the numbers in the cells
LONGEST_NAME = 22  # characters
SIDE, LEAST_CELL, SMALLEST = 5.2, 0.135, 2.4  # inches: of the matrix, of a cell that has a name, of a small matrix
LARGEST_CELL = 0.5
BAR = 0.14  # inches: width of the scale
COLOURS = colors.LinearSegmentedColormap.from_list("shares", ["white", style.BLUE, "#10264d"])


class Confusion(NamedTuple):
    """A frequent mistake. images: of val, averaged over seeds.  share: of the true class's images, in per cent."""

    true: str
    predicted: str
    images: float
    share: float


class Counts(NamedTuple):
    """Of the pairs of classes that occur how often, by true class: their square does not fit into memory for many."""

    true: Int64[np.ndarray, " pairs"]
    predicted: Int64[np.ndarray, " pairs"]
    images: Int64[np.ndarray, " pairs"]
    classes: int

    @classmethod
    def of(cls, labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int) -> Counts:
        pairs, images = np.unique(labels.astype(np.int64) * classes + predicted, return_counts=True)
        return cls(*np.divmod(pairs, classes), images.astype(np.int64), classes)

    def of_classes(self) -> Int64[np.ndarray, " classes"]:
        """Images of each true class."""
        return np.bincount(self.true, self.images, self.classes).astype(np.int64)

    def matrix(self) -> Int64[np.ndarray, "classes classes"]:
        found = np.zeros((self.classes, self.classes), np.int64)
        found[self.true, self.predicted] = self.images
        return found


def counts(result: Result, directory: Path) -> Counts | None:
    """Of all seeds together, by their predictions in `directory`; None for a task without classes.

    None too where a seed has no such file.
    """
    if "per_class" not in result.metrics:
        return None
    each = [predictions.read(directory, run.seed) for run in result.runs]
    found = [arrays for arrays in each if arrays is not None]
    if len(found) < len(each):
        return None
    labels, predicted = (np.concatenate([arrays[name] for arrays in found]) for name in ("labels", "predicted"))
    return Counts.of(labels, predicted, len(result.metrics["per_class"]))


def most_frequent(counts: Counts, names: Sequence[str], seeds: int = 1, most: int = 10) -> list[Confusion]:
    """The most frequent mistakes, those of the same number in the order of the classes.

    counts: of so many seeds together.
    """
    images, wrong = counts.of_classes(), np.flatnonzero(counts.true != counts.predicted)
    found = []
    for place in wrong[np.argsort(-counts.images[wrong], kind="stable")[:most]].tolist():
        true, predicted, mistaken = (int(each[place]) for each in counts[:3])
        found.append(Confusion(names[true], names[predicted], mistaken / seeds, 100 * mistaken / int(images[true])))
    return found


def write(directory: Path, result: Result, counts: Counts, names: Sequence[str]) -> Path | None:
    """confusion.png; None where there are more than `MOST_CLASSES`."""
    path = directory / NAME
    if len(names) > MOST_CLASSES:
        return None
    title = f"{result.label}, {result.protocol['name']}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page lists the names in the reader's own fonts
        drawn = figure(counts.matrix(), [printable(name) for name in names], printable(title))
        files.replace(path, style.png(drawn))
    return path


def figure(counts: Int[np.ndarray, "n n"], names: Sequence[str], title: str) -> Figure:
    """Each row's shares of its class's images; a class without images is gray."""
    named = len(names) <= MOST_NAMES
    cell = min(LARGEST_CELL, max(SIDE / len(names), LEAST_CELL if named else 0, SMALLEST / len(names)))
    side = cell * len(names)
    size = min(9.0, 72 * cell * 0.62)
    short = [shortened(name, LONGEST_NAME) for name in names]
    longest = max(map(len, short)) * size * 0.62 / 72 if named else 0.25  # inches
    left, top = 0.45 + longest, 0.75
    sheet = style.Sheet(max(left + side + 0.95, 4.2), top + side + longest + 0.45)
    sheet.text(0.15, 0.12, shortened(title, int(sheet.width * 12)), 10, weight="bold")
    shares = _shares(counts)
    gray = "; gray: no images" if np.ma.is_masked(shares) else ""
    sheet.text(0.15, 0.36, f"share of the true class's images, in per cent{gray}", 8, style.MUTED)
    axes = sheet.axes(left, top, side, side)
    norm = colors.PowerNorm(0.5, 0, 100)  # a mistake of 2 % is still seen
    image = axes.imshow(shares, cmap=COLOURS.with_extremes(bad=style.RULE), norm=norm, aspect="auto")
    _frame(axes)
    if named:
        axes.set_xticks(range(len(names)), short, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(len(names)), short, fontsize=size, parse_math=False)
    if len(names) <= MOST_NUMBERS:
        _numbers(axes, shares, size)
    axes.set_xlabel("predicted", fontsize=8, color=style.MUTED)
    axes.set_ylabel("true", fontsize=8, color=style.MUTED)
    scale = sheet.axes(left + side + 0.2, top, BAR, min(side, 2.0))
    bar = sheet.figure.colorbar(image, cax=scale, ticks=[0, 1, 5, 10, 25, 50, 100])
    _frame(scale)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]  # its stubs take an artist for a property
    return sheet.figure


def _shares(counts: Int[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    images = counts.sum(axis=1, keepdims=True)
    return np.ma.masked_array(100 * counts / np.maximum(images, 1), np.broadcast_to(images == 0, counts.shape))


def _frame(axes: Axes) -> None:
    axes.set_axis_on()
    axes.tick_params(labelsize=7, colors=style.INK, length=0)
    for spine in axes.spines.values():
        spine.set_color(style.RULE)


def _numbers(axes: Axes, shares: Float[np.ndarray, "n n"], size: float) -> None:
    for (row, column), share in np.ma.ndenumerate(shares):
        colour = "white" if share > 18 else style.INK
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=size, color=colour)
