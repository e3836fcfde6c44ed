"""One table of all weights: on the screen, table.md, table.csv and table.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lewel.console import Table
from lewel.engine import files
from lewel.evaluate import leakage
from lewel.evaluate.remarks import remarks
from lewel.evaluate.results import Result, as_json, is_percent, title
from lewel.visualize.chart import number
from lewel.visualize.text import in_markdown

MARK = "*"  # of the best, on a screen


def write(out: Path, results: Sequence[Result]) -> list[Path]:
    """table.md, with the remarks under it, table.csv and table.json. Returns where they are."""
    heads, rows = _cells(results, lambda text: f"**{text}**")
    rows = [[*map(in_markdown, row[:2]), *row[2:]] for row in rows]  # the others are numbers
    lines = [[*map(in_markdown, heads)], ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    markdown = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    markdown += "".join(f"\n{in_markdown(remark)}\n" for remark in (*legend(results, "Bold"), *remarks(results)))
    files.replace(out / "table.md", markdown.encode("utf-8", "backslashreplace"))
    text = io.StringIO()
    plain = [_plain(result) for result in results]
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in plain for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    files.replace(out / "table.csv", text.getvalue().encode("utf-8", "backslashreplace"))
    files.replace(out / "table.json", as_json(plain))
    return [out / f"table.{ending}" for ending in ("md", "csv", "json")]


def table(results: Sequence[Result]) -> Table:
    """For the screen, under the protocol's name where there is one."""
    heads, rows = _cells(results, lambda text: text + MARK)
    shared = len({result.protocol["name"] for result in results}) == 1
    drawn = Table(box=None, pad_edge=False, title=rows[0][1] if shared else None, title_justify="left")
    columns = [place for place in range(len(heads)) if not (shared and place == 1)]
    for place in columns:
        drawn.add_column(heads[place], justify="left" if place < 2 else "right", overflow="fold")
    for row in rows:  # without the space the ends of an interval stay in one line
        cells = [*row[:3], *(cell.replace(", ", ",") for cell in row[3:])]
        drawn.add_row(*(cells[place] for place in columns))
    return drawn


def names(results: Sequence[Result]) -> list[str]:
    """The single numbers that any of them has: the columns of a table."""
    return list(dict.fromkeys(name for result in results for name in result.numbers()))


def shown(result: Result, name: str) -> str:
    """The mean, and the spread where there are several seeds: "71.20 ± 0.15". Empty where the number is missing."""
    if name not in result.numbers():
        return ""
    mean, spread = result.metrics[name], result.std.get(name)
    if is_percent(name):
        return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"
    return number(mean) if spread is None else f"{number(mean)} ± {number(spread)}"


def between(result: Result, name: str) -> str:
    """The ends of its 95 % interval: "69.9, 72.4". Empty where it has none."""
    ends = result.intervals.get(name)
    return "" if ends is None else f"{ends[0]:.1f}, {ends[1]:.1f}"


def legend(results: Sequence[Result], mark: str) -> list[str]:
    """What brackets and the mark of the best say, and which numbers have neither; for under the table."""
    told, several = list[str](), len(results) > 1
    without = [name for name in names(results) if is_percent(name) and not any(name in r.intervals for r in results)]
    if any(result.intervals for result in results):
        seeds = " and Student's t over seeds" if any(len(result.runs) > 1 for result in results) else ""
        told.append(f"In brackets: 95 % interval, by bootstrap over images{seeds}.")
    if several and told:
        told.append(f"{mark}: best, as the interval of its difference to every other row, image by image, excludes 0.")
    if several and without:
        told.append(f"{', '.join(map(title, without))}: {_why(without)}, so no best is marked.")
    return [" ".join(told)] if told else []


def _why(names: Sequence[str]) -> str:
    return "no means over images, and without an interval" if "AP" in names else "without an interval"


def pixels(result: Result) -> str:
    """The side of the images."""
    return str(result.protocol.get("image_size", ""))


def seeds(result: Result) -> str:
    """How many, or that another one would change nothing."""
    return "deterministic" if result.deterministic else str(len(result.runs))


def _cells(results: Sequence[Result], best: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """The table as text: its heads, and a row for each of the weights.  best: marks a number."""
    columns = names(results)
    heads = ["weights", "protocol", "px", *map(title, columns), "seeds"]
    return heads, [
        [
            result.label,
            result.protocol["name"],
            pixels(result),
            *(_cell(result, name, best) for name in columns),
            seeds(result),
        ]
        for result in results
    ]


def _cell(result: Result, name: str, best: Callable[[str], str]) -> str:
    text = shown(result, name)
    text = best(text) if name in result.best else text
    return f"{text} [{ends}]" if (ends := between(result, name)) else text


def _plain(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "weights": result.label,
        "protocol": result.protocol["name"],
        "px": result.protocol.get("image_size"),
        "seeds": len(result.runs),
        "deterministic": result.deterministic,
    }
    for name, value in result.numbers().items():
        row[name] = value
        if name in result.std:
            row[f"{name}_std"] = result.std[name]
        if name in result.intervals:
            row |= dict(zip((f"{name}_low", f"{name}_high"), result.intervals[name], strict=True))
        if name in result.best:
            row[f"{name}_best"] = True
    if leaked := max(run.data.get(leakage.FACTS, {}).get("val_in_train", 0) for run in result.runs):
        row["val_in_train"] = leaked
    return row | {"weights_digest": result.weights["digest"], "protocol_digest": result.protocol["digest"]}
