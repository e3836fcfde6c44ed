"""What an evaluation leaves: results.json for each set of weights, and one table of all, as text, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from rich.table import Table

from lewel.engine import files
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.subject import Subject
from lewel.version import __version__

RESULTS = "results.json"
TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean of classes",
    "top1_last": "top-1, last",
    "best_of_grid_top1": "best of grid on val",
    "mean_accuracy": "mean accuracy",
}


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


@dataclass(frozen=True)
class Result:
    """Of one set of weights.  metrics: means over the seeds.  std: of single numbers, with n - 1; empty for one seed."""

    label: str
    protocol: dict[str, Any]
    weights: dict[str, Any]
    metrics: dict[str, Any]
    std: dict[str, float]
    runs: tuple[Run, ...]

    def numbers(self) -> dict[str, float]:
        """The metrics that are a single number."""
        return {name: value for name, value in self.metrics.items() if isinstance(value, int | float)}


def summarise(label: str, protocol: Protocol, subject: Subject, runs: Sequence[Run]) -> Result:
    """Means and spread over the seeds."""
    metrics = {name: _mean([run.metrics[name] for run in runs]) for name in runs[0].metrics}
    single = [name for name, value in metrics.items() if isinstance(value, int | float)]
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
                "data": digest(run.data),
                "metrics": run.metrics,
                "seconds": run.seconds,
                "precision": run.precision,
                "device": run.device,
                "skipped": run.skipped,
            }
            for run in result.runs
        ],
        "versions": versions(),
    }
    files.replace(directory / RESULTS, json.dumps(content, indent=1).encode())


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    found = {"lewel": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    found |= {"timm": timm.__version__, "python": platform.python_version()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found | {"machine": f"{platform.system()} {platform.machine()}"}


def digest(content: Any) -> str:
    """sha256 of what is JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_tables(out: Path, results: Sequence[Result]) -> None:
    """table.md, table.csv and table.json."""
    heads, rows = _cells(results)
    markdown = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(row) + " |" for row in rows)]
    files.replace(out / "table.md", ("\n".join(markdown) + "\n").encode())
    text = io.StringIO()
    plain = [_plain(result) for result in results]
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in plain for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    files.replace(out / "table.csv", text.getvalue().encode())
    files.replace(out / "table.json", json.dumps(plain, indent=1).encode())


def table(results: Sequence[Result]) -> Table:
    """For the screen."""
    heads, rows = _cells(results)
    drawn = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _plain(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"weights": result.label, "protocol": result.protocol["name"], "seeds": len(result.runs)}
    for name, value in result.numbers().items():
        row[name] = value
        if name in result.std:
            row[f"{name}_std"] = result.std[name]
    return row | {"weights_digest": result.weights["digest"], "protocol_digest": result.protocol["digest"]}


def _cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for result in results for name in result.numbers()))
    heads = ["weights", "protocol", *(TITLES.get(name, name) for name in names), "seeds"]
    return heads, [
        [result.label, result.protocol["name"], *(_shown(result, name) for name in names), str(len(result.runs))]
        for result in results
    ]


def _shown(result: Result, name: str) -> str:
    if name not in result.numbers():
        return ""
    spread = f" ± {result.std[name]:.2f}" if name in result.std else ""
    return f"{result.metrics[name]:.2f}{spread}"


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, and of those in dicts and lists; of anything else the first."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_mean(each) for each in zip(*values, strict=True)]
    if isinstance(first, bool) or not _all_numbers(values):
        return first
    return first if len(values) == 1 else statistics.fmean(values)


def _all_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)
