"""What an evaluation gives, over its seeds, and results.json, which says it with everything that decided it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import statistics
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from lewel import reading
from lewel.engine import files
from lewel.errors import UserError
from lewel.version import __version__

RESULTS = "results.json"
FORMAT = 1  # of results.json and job.json; those without a number are of format 1 too
_TITLES = {  # of what is in per cent
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean of classes",
    "top1_last": "top-1, last",
    "best_of_grid_top1": "best of grid on val",
    "mean_accuracy": "mean accuracy",
    "mean_accuracy_last": "mean accuracy, last",
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP50_area": "AP50, area",
    "AP_mask": "AP, masks",
    "AP50_mask": "AP50, masks",
    "AP75_mask": "AP75, masks",
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean of classes",
    "NME": "NME",
    "failure_rate": "failures",
    "AUC": "AUC",
}
_OF_SUBSET = "NME_"  # begins the name of a subset's NME, such as NME_common


@typing.runtime_checkable
class Described(typing.Protocol):
    """A protocol or weights: what says for results.json everything that decides a number."""

    def facts(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Run:
    """One seed's results.

    weights: the digest of what was evaluated; random weights are others for each seed.
    measured: images of val that the numbers are over; of the others `skipped` says why they could not be read.
    training: images, and those of a step and of batch norm's statistics; steps an epoch; empty where nothing trains.
    """

    seed: int
    weights: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    precision: str
    device: str
    skipped: list[dict[str, str]]
    versions: dict[str, str]
    measured: int
    training: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """Of one set of weights.

    metrics: means over the seeds.  std: of single numbers, with n - 1; none for one seed.
    deterministic: another seed would give the same, so there is one run and no spread to be known.
    intervals: low and high ends, at 95 %, of the metrics that have them.  best: metrics of which no other row is near.
    """

    label: str
    protocol: dict[str, Any]
    weights: dict[str, Any]
    metrics: dict[str, Any]
    std: dict[str, float]
    runs: tuple[Run, ...]
    deterministic: bool = False
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    best: tuple[str, ...] = ()

    def numbers(self) -> dict[str, float]:
        """The metrics that are a single number."""
        return {name: value for name, value in self.metrics.items() if is_number(value)}


def is_percent(name: str) -> bool:
    """Whether the metric of this name is in per cent."""
    return name in _TITLES or name.startswith(_OF_SUBSET)


def title(name: str) -> str:
    """Of a metric, for people."""
    if name.startswith(_OF_SUBSET):
        return f"NME, {name.removeprefix(_OF_SUBSET)}"
    return _TITLES.get(name, name)


def is_better_lower(name: str) -> bool:
    return name in ("NME", "failure_rate") or name.startswith(_OF_SUBSET)


def summarise(
    label: str, protocol: Described, subject: Described, runs: Sequence[Run], deterministic: bool = False
) -> Result:
    """Means and spread over the seeds. What is not finite, or is no number in all of them, is None."""
    metrics = {name: _mean([run.metrics[name] for run in runs]) for name in runs[0].metrics}
    single = [name for name, value in metrics.items() if is_number(value)]
    std = {name: statistics.stdev(run.metrics[name] for run in runs) for name in single} if len(runs) > 1 else {}
    return Result(label, protocol.facts(), subject.facts(), metrics, std, tuple(runs), deterministic)


def write(directory: Path, result: Result) -> Path:
    """results.json: all that decided the numbers, beside them. Returns where it is."""
    content = {
        "format": FORMAT,
        "protocol": result.protocol,
        "weights": result.weights,
        "data": result.runs[0].data,
        "metrics": result.metrics,
        "std": result.std,
        "intervals": result.intervals,
        "deterministic": result.deterministic,
        "seeds": [
            {
                "seed": run.seed,
                "weights": run.weights,
                "data": data_digest(run.data),
                "metrics": run.metrics,
                "seconds": run.seconds,
                "precision": run.precision,
                "device": run.device,
                "training": run.training,
                "images_of_val": run.measured,
                "skipped": run.skipped,
                "versions": run.versions,
            }
            for run in result.runs
        ],
        "versions": result.runs[0].versions,
    }
    files.replace(directory / RESULTS, as_json(content))
    return directory / RESULTS


def read(path: Path) -> dict[str, Any]:
    """The content of a results.json. Raises UserError for a damaged one, and one of a newer lewel."""
    advice = "delete it, or give another --out"
    found = reading.read_json(path, advice)
    reading.check_format(path, found.get("format", FORMAT), FORMAT)
    if not all(isinstance(found.get(part), dict) for part in ("protocol", "weights", "metrics")):
        raise UserError(f"{path} is damaged: it lacks the protocol, the weights or the metrics; {advice}")
    return found


def rules(result: Result) -> str:
    """Digest of what rows have in common that can be compared: the protocol, but for a rate that was searched."""
    if "lr_search" not in result.runs[0].training:
        return result.protocol["digest"]
    of_the_rate = ("lr", "lr_last", "name", "digest")
    content = {name: value for name, value in result.protocol.items() if name not in of_the_rate}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, and of those in dicts and lists; what is the same in all stays as it is."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_mean(each) for each in zip(*values, strict=True)]
    if all(value == first for value in values):
        return _finite(first)
    return statistics.fmean(values) if all(map(is_number, values)) else None


def is_number(value: Any) -> bool:
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
