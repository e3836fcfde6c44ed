"""What an evaluation leaves: results.json for each set of weights, and a table of all: text, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
import re
import statistics
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from rich.table import Table
from rich.text import Text

from lewel.engine import files
from lewel.version import __version__
from lewel.visualize.chart import number

RESULTS = "results.json"
TITLES = {  # of what is in per cent, and better the higher it is
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean of classes",
    "top1_last": "top-1, last",
    "best_of_grid_top1": "best of grid on val",
    "mean_accuracy": "mean accuracy",
    "mean_accuracy_last": "mean accuracy, last",
}


@typing.runtime_checkable
class Described(typing.Protocol):
    """A protocol or weights: what says for results.json everything that decides a number."""

    def facts(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Run:
    """One seed's results.  weights: the digest of what was evaluated; random weights are others for each seed."""

    seed: int
    weights: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    precision: str
    device: str
    skipped: list[dict[str, str]]
    versions: dict[str, str]


@dataclass(frozen=True)
class Result:
    """Of one set of weights.  metrics: means over the seeds.  std: of single numbers, with n - 1; none for one seed."""

    label: str
    protocol: dict[str, Any]
    weights: dict[str, Any]
    metrics: dict[str, Any]
    std: dict[str, float]
    runs: tuple[Run, ...]

    def numbers(self) -> dict[str, float]:
        """The metrics that are a single number."""
        return {name: value for name, value in self.metrics.items() if _is_number(value)}


def summarise(label: str, protocol: Described, subject: Described, runs: Sequence[Run]) -> Result:
    """Means and spread over the seeds. What is not finite, or is no number in all of them, is None."""
    metrics = {name: _mean([run.metrics[name] for run in runs]) for name in runs[0].metrics}
    single = [name for name, value in metrics.items() if _is_number(value)]
    std = {name: statistics.stdev(run.metrics[name] for run in runs) for name in single} if len(runs) > 1 else {}
    return Result(label, protocol.facts(), subject.facts(), metrics, std, tuple(runs))


def write(directory: Path, result: Result) -> None:
    """results.json: all that decided the numbers, beside them."""
    content = {
        "protocol": result.protocol,
        "weights": result.weights,
        "data": result.runs[0].data,
        "metrics": result.metrics,
        "std": result.std,
        "seeds": [
            {
                "seed": run.seed,
                "weights": run.weights,
                "data": data_digest(run.data),
                "metrics": run.metrics,
                "seconds": run.seconds,
                "precision": run.precision,
                "device": run.device,
                "skipped": run.skipped,
                "versions": run.versions,
            }
            for run in result.runs
        ],
        "versions": result.runs[0].versions,
    }
    files.replace(directory / RESULTS, as_json(content))


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    found = {"lewel": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    found |= {"timm": timm.__version__, "python": platform.python_version()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found | {"machine": f"{platform.system()} {platform.machine()}"}


def data_digest(facts: Mapping[str, Any]) -> str:
    """sha256 over the images and labels of all parts, wherever they lie."""
    parts = {name: facts[name]["digest"] for name in ("train", "val", "subset") if name in facts}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_tables(out: Path, results: Sequence[Result]) -> None:
    """table.md, table.csv and table.json."""
    heads, rows = _cells(results)
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *rows]
    markdown = "".join("| " + " | ".join(map(_in_markdown, line)) + " |\n" for line in lines)
    files.replace(out / "table.md", markdown.encode("utf-8", "backslashreplace"))
    text = io.StringIO()
    plain = [_plain(result) for result in results]
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in plain for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    files.replace(out / "table.csv", text.getvalue().encode("utf-8", "backslashreplace"))
    files.replace(out / "table.json", as_json(plain))


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
    if name in TITLES:
        return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"
    return number(mean) if spread is None else f"{number(mean)} ± {number(spread)}"


def _cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """The table as text: its heads, and a row for each of the weights."""
    columns = names(results)
    heads = ["weights", "protocol", *(TITLES.get(name, name) for name in columns), "seeds"]
    return heads, [
        [result.label, result.protocol["name"], *(shown(result, name) for name in columns), str(len(result.runs))]
        for result in results
    ]


def _plain(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"weights": result.label, "protocol": result.protocol["name"], "seeds": len(result.runs)}
    for name, value in result.numbers().items():
        row[name] = value
        if name in result.std:
            row[f"{name}_std"] = result.std[name]
    return row | {"weights_digest": result.weights["digest"], "protocol_digest": result.protocol["digest"]}


def _in_markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, and of those in dicts and lists; what is the same in all stays as it is."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_mean(each) for each in zip(*values, strict=True)]
    if all(value == first for value in values):
        return _finite(first)
    return statistics.fmean(values) if all(map(_is_number, values)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(content: Any) -> Any:
    """The content with None for what JSON has no number for."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def as_json(content: Any) -> bytes:
    """Indented, but for rows of numbers: each has one line."""
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    return re.sub(r"\[\n[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text).encode()
