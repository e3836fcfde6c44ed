"""Contenders timed in one run, there and back, with the first one twice: what differs from itself is noise.

A round runs every contender once in their order and once in the reverse (A A' B C C B A' A), so that a machine that
slows down or speeds up steadily does so for all of them alike. A ratio is that of two contenders' speeds in the same
round; the median over the rounds is given, with a bootstrap's interval: 95 % of many rounds; of 3 or 5 it is their
range, which holds the true median in 75 or 94 % of cases. A' is A again: its interval should hold 1, and differences
smaller than it is wide say nothing.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lewel import parallel
from lewel.console import Column, Table
from lewel.engine import files
from lewel.errors import UserError
from lewel.version import __version__

RESAMPLES = 2000
CONTROL = "the first again"


@dataclass(frozen=True)
class Contender:
    """work: one unit of work, of `images` images, finished (the device too) when it returns.

    cpu: CPU seconds so far, of whatever process does the work.
    """

    name: str
    work: Callable[[], object]
    images: int
    cpu: Callable[[], float] = time.process_time


@dataclass(frozen=True)
class Result:
    """One contender.

    seconds: of each unit, two a round, in order. cpu_seconds: of a unit, mean.
    ratio: its speed over the first's, with its interval. facts: what else is known of it, by name.
    """

    name: str
    images: int
    seconds: list[float]
    cpu_seconds: float
    ratio: float
    low: float
    high: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_s(self) -> float:
        return self.images / float(np.median(self.seconds))


def interleaved(contenders: Sequence[Contender], rounds: int, warm_up: int = 2) -> list[Result]:
    """Time them all. The first is what the others are compared with; it comes back a second time, as `CONTROL`.

    warm_up: units that each does before the first round: compilation, caches, memory.
    Raises UserError for fewer than 3 rounds.
    """
    check_rounds(rounds)
    first, *others = contenders
    line = [first, replace(first, name=CONTROL), *others]
    for contender in contenders:
        for _ in range(warm_up):
            contender.work()
    seconds = np.zeros((len(line), rounds, 2))
    cpu = np.zeros(len(line))
    for turn in range(rounds):
        for way, order in enumerate((range(len(line)), reversed(range(len(line))))):
            for number in order:
                contender = line[number]
                cpu_began, began = contender.cpu(), time.perf_counter()
                contender.work()
                seconds[number, turn, way] = time.perf_counter() - began
                cpu[number] += contender.cpu() - cpu_began
    speed = np.array([contender.images for contender in line])[:, None] / seconds.sum(axis=2)
    return [
        Result(contender.name, contender.images, times.ravel().tolist(), float(used) / (2 * rounds), *interval(ratios))
        for contender, times, used, ratios in zip(line, seconds, cpu, speed / speed[0], strict=True)
    ]


def check_rounds(rounds: int) -> None:
    """Raises UserError for fewer than 3."""
    if rounds < 3:
        raise UserError(f"--rounds {rounds}: 3 or more are needed for an interval")


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """The median, and the 2.5 and 97.5 % points of the medians of resampled values."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[drawn], axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def table(title: str, results: Sequence[Result]) -> Table:
    made = empty_table(title, "images/s", "times the first", "CPU ms an image")
    for result in results:
        cpu_ms = 1000 * result.cpu_seconds / result.images
        made.add_row(result.name, figures(result.images_per_s), with_interval(result), f"{cpu_ms:.2f}")
    return made


def empty_table(title: str, *columns: str) -> Table:
    """With a first column for the contenders' names."""
    numbers = [Column(name, justify="right", no_wrap=True) for name in columns]
    return Table(Column("", no_wrap=True), *numbers, title=title, box=None, pad_edge=False)


def figures(value: float) -> str:
    """At least three significant figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_interval(result: Result) -> str:
    return f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})"


def as_dict(result: Result) -> dict[str, Any]:
    """For the file."""
    return asdict(result) | {"images_per_s": result.images_per_s}


def save(path: Path, command: str, settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Every figure as JSON, with the machine and the versions. Raises UserError where it cannot be written."""
    content = {"command": command, "settings": settings, "machine": machine(), "results": results}
    try:
        files.replace(path, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise UserError(f"--json {path} not written: {error.strerror}; give a file in a folder that exists") from error


def machine() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "processor": _processor(),
        "cores": parallel.cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lewel": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
