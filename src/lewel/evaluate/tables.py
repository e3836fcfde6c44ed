"""One table of all weights: on the screen, table.md, table.csv and table.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lewel.engine import files
from lewel.evaluate.remarks import remarks
from lewel.evaluate.results import Result, as_json, is_percent, title
from lewel.visualize.chart import number


def write(out: Path, results: Sequence[Result]) -> list[Path]:
    """table.md, with the remarks under it, table.csv and table.json. Returns where they are."""
    heads, rows = _cells(results)
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    markdown = "".join("| " + " | ".join(map(_in_markdown, line)) + " |\n" for line in lines)
    markdown += "".join(f"\n{_in_markdown(remark)}\n" for remark in remarks(results))
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
    """For the screen, under the protocol's name where there is one. Brackets in it, which say a change, are text."""
    heads, rows = _cells(results)
    shared = len({result.protocol["name"] for result in results}) == 1
    drawn = Table(box=None, pad_edge=False, title=Text(rows[0][1]) if shared else None, title_justify="left")
    columns = [place for place in range(len(heads)) if not (shared and place == 1)]
    for place in columns:
        drawn.add_column(Text(heads[place]), justify="left" if place < 2 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(row[place]) for place in columns))
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


def pixels(result: Result) -> str:
    """The side of the images."""
    return str(result.protocol.get("image_size", ""))


def seeds(result: Result) -> str:
    """How many, or that another one would change nothing."""
    return "deterministic" if result.deterministic else str(len(result.runs))


def _cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """The table as text: its heads, and a row for each of the weights."""
    columns = names(results)
    heads = ["weights", "protocol", "px", *map(title, columns), "seeds"]
    return heads, [
        [
            result.label,
            result.protocol["name"],
            pixels(result),
            *(shown(result, name) for name in columns),
            seeds(result),
        ]
        for result in results
    ]


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
    return row | {"weights_digest": result.weights["digest"], "protocol_digest": result.protocol["digest"]}


def _in_markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")
