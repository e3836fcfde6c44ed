"""What `lewel evaluate maps` leaves to read: tables of all kinds of maps; the worst and best cases as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from lewel.console import Table
from lewel.engine import files
from lewel.evaluate.maps import pointing
from lewel.evaluate.maps.looking import METRICS, Looking, Measured
from lewel.evaluate.maps.scenery import Scenery, Square
from lewel.evaluate.results import Result
from lewel.terminal import printable
from lewel.visualize import style
from lewel.visualize.maps import stretched
from lewel.visualize.text import in_markdown, shortened

PICTURE = "where.png"
CASES = 4  # worst, and as many best
ABOVE = "trained above"

Interval = dict[str, float | None]  # mean, low, high
Kinds = dict[str, dict[str, Interval]]  # by kind of maps, by metric


def parts(result: Result) -> dict[str, Kinds]:
    """What the tables show, by their titles: every kind of maps, and how far the trained ones are above the others."""
    return {"maps": result.metrics["kinds"], ABOVE: result.metrics["trained_above"]}


def tables(result: Result) -> list[Table]:
    """For the screen: means, and half of the intervals' widths."""
    drawn = []
    for title, kinds in parts(result).items():
        table = Table(title=f"{result.label}: {title}", title_justify="left", box=None, pad_edge=False)
        table.add_column("")
        for kind in kinds:
            table.add_column(kind, justify="right")
        for name, metric in METRICS.items():
            table.add_row(metric, *(_short(name, kinds[kind][name]) for kind in kinds))
        drawn.append(table)
    return drawn


def write(out: Path, found: Sequence[Result]) -> None:
    """table.md, with a table for each run, and table.csv, with a row for each interval."""
    blocks, text = [], io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["weights", "table", "maps", "metric", "mean", "low", "high"])
    for result in found:
        for title, kinds in parts(result).items():
            blocks.append(_markdown(f"{result.label}: {title}", kinds))
            for kind, values in kinds.items():
                for name, value in values.items():
                    writer.writerow([result.label, title, kind, name, *value.values()])
    files.replace(out / "table.md", "\n".join(blocks).encode("utf-8", "backslashreplace"))
    files.replace(out / "table.csv", text.getvalue().encode("utf-8", "backslashreplace"))


def _markdown(title: str, kinds: Kinds) -> str:
    lines = [[in_markdown(title), *kinds], ["---", *["---:"] * len(kinds)]]
    lines += [[metric, *(_whole(name, kinds[kind][name]) for kind in kinds)] for name, metric in METRICS.items()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _short(name: str, value: Interval) -> str:
    """ "31.2 ± 1.4"; empty where there is no number."""
    mean, low, high = value["mean"], value["low"], value["high"]
    if mean is None or low is None or high is None:
        return ""
    places = _places(name)
    return f"{mean:.{places}f} ± {(high - low) / 2:.{places}f}"


def _whole(name: str, value: Interval) -> str:
    """ "31.2 (29.8 to 32.7)"; empty where there is no number."""
    if value["mean"] is None:
        return ""
    mean, low, high = (f"{value[each]:.{_places(name)}f}" for each in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _places(name: str) -> int:
    return 2 if name == "agreement" else 1


# -- the picture, in inches

CELL, GAP, MARGIN, HEAD, NAME = 1.25, 0.08, 0.2, 0.95, 0.2


def cases(looking: Looking, scenery: Scenery, measured: Measured) -> bytes:
    """PNG: images on which the chosen map points worst and best, against the objects' share of the image."""
    above = measured.values["trained"]["pointing_chosen"] - measured.values["uniform"]["pointing_chosen"]
    order = np.argsort(above, kind="stable").tolist()
    count = min(CASES, len(order) // 2)
    shown = [*order[:count], *order[::-1][:count]]
    squares = [scenery.square(measured.indices[place]) for place in shown]
    maps = looking.maps([square.picture for square in squares])
    heads = ("image", "objects", "trained, chosen map", "initial, same map", "trained, sharpest")
    sheet = style.Sheet(2 * MARGIN + 0.75 + len(heads) * (CELL + GAP), HEAD + 2 * count * (CELL + NAME) + 0.4)
    sheet.text(MARGIN, 0.14, "Where it looks: worst and best cases", 12, weight="bold")
    about = f"{len(above)} images, {looking.side} px, {maps['trained'].shape[2]} x {maps['trained'].shape[3]} cells."
    sheet.text(MARGIN, 0.4, f"{about} A dot marks the map's largest cell; per cent: objects in it.", 8, style.MUTED)
    for column, head in enumerate(heads):
        sheet.text(_x(column) + CELL / 2, HEAD - 0.05, head, 7, style.MUTED, ha="center", va="bottom")
    for row, (place, square) in enumerate(zip(shown, squares, strict=True)):
        y = HEAD + row * (CELL + NAME) + (0.15 if row >= count else 0)
        sheet.text(MARGIN, y + CELL / 2, "worst" if row < count else "best", 8, va="center")
        number = measured.maps[place % 2]
        chosen = [("trained", number), ("initial", number), ("trained", pointing.sharpest(maps["trained"][row]))]
        _row(sheet, y, square, [maps[kind][row][index] for kind, index in chosen])
        points, area = (measured.values[kind]["pointing_chosen"][place] for kind in ("trained", "uniform"))
        told = f"{shortened(printable(square.name), 22)}: objects {area:.0f} %, map {number}: {points:.0f} %"
        sheet.text(_x(0), y + CELL + 0.02, told, 6, style.MUTED)
    return style.png(sheet.figure, dpi=110)


def _row(sheet: style.Sheet, y: float, square: Square, maps: Sequence[Tensor]) -> None:
    picture = square.picture
    sheet.image(_x(0), y, CELL, CELL, np.asarray(picture))
    objects = ((square.classes > 0) & (square.classes < 255)).astype(float)
    sheet.image(_x(1), y, CELL, CELL, style.overlay(picture, objects))
    for column, one in enumerate(maps, 2):
        axes = sheet.image(_x(column), y, CELL, CELL, style.overlay(picture, stretched(one, picture.size)))
        top, left = divmod(int(one.argmax()), one.shape[1])
        across, down = (left + 0.5) / one.shape[1], (top + 0.5) / one.shape[0]
        axes.plot(across * picture.width - 0.5, down * picture.height - 0.5, "o", color=style.BLUE, mec="white", ms=5)


def _x(column: int) -> float:
    return MARGIN + 0.75 + column * (CELL + GAP)
