"""What is killed: each row a command. Methods, sources, workers, accumulation, processes and evaluations all occur."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sources import SMALL

HERE = ("--device", "cpu", "--precision", "fp32", "--workers", 0)


@dataclass(frozen=True)
class Scenario:
    """words: the command without --out."""

    name: str
    words: tuple[object, ...]
    processes: int = 1


@dataclass(frozen=True)
class Pretraining:
    method: str
    source: str
    workers: int
    accumulate: int = 1
    processes: int = 1
    evaluate: str = "none"
    executor: str = "pillow"

    def scenario(self, sources: dict[str, Path]) -> Scenario:
        words = (
            "pretrain", f"{self.method}_tiny", "--data", sources[self.source], *SMALL, "--epochs", 4, "--save-every", 1,
            "--workers", self.workers, "--accumulate", self.accumulate, "--evaluate", self.evaluate,
            "--executor", self.executor, *(("--bn-groups", 2, "--timeout", 20) if self.processes > 1 else ()),
        )  # fmt: skip
        name = f"{self.method}, {self.source}, {self.workers} workers"
        name += f", accumulate {self.accumulate}" if self.accumulate > 1 else ""
        name += f", {self.processes} processes" if self.processes > 1 else ""
        name += f", {self.evaluate}" if self.evaluate != "none" else ""
        name += f", {self.executor}" if self.executor != "pillow" else ""
        return Scenario(name, words, self.processes)


PRETRAINING = (
    Pretraining("lewel_m", "folder", 0),
    Pretraining("lewel_m", "index", 1, evaluate="knn"),
    Pretraining("lewel_m", "shards", 2, accumulate=2),
    Pretraining("lewel_b", "folder", 1, accumulate=2, evaluate="knn"),
    Pretraining("lewel_b", "index", 0),
    Pretraining("lewel_b", "shards", 2, evaluate="knn,linear-fast"),
    Pretraining("moco_v2", "folder", 2, evaluate="knn,linear-fast"),
    Pretraining("moco_v2", "index", 1),
    Pretraining("moco_v2", "shards", 0, accumulate=2, evaluate="knn"),
    Pretraining("byol", "folder", 1, executor="tensor"),
    Pretraining("byol", "index", 2, accumulate=2, evaluate="linear-fast"),
    Pretraining("byol", "shards", 1, evaluate="knn"),
    Pretraining("lewel_m_aligned_only", "folder", 1),
    Pretraining("lewel_m_no_extra_head", "index", 0, accumulate=2),
    Pretraining("lewel_m_random_maps", "shards", 1, evaluate="knn"),
    Pretraining("lewel_m_separate_head", "index", 2),
    Pretraining("moco_v2_extra_head", "folder", 0, evaluate="linear-fast"),
    Pretraining("lewel_m", "folder", 1, processes=2, evaluate="knn"),
    Pretraining("lewel_b", "shards", 0, accumulate=2, processes=2),
    Pretraining("moco_v2", "index", 1, processes=2),
    Pretraining("byol", "folder", 0, processes=2, evaluate="knn"),
    Pretraining("simsiam", "folder", 1, evaluate="knn"),
    Pretraining("densecl", "shards", 0, accumulate=2),
)

EVALUATIONS = (
    ("linear-byol", "trained", "folder", ("--epochs", 8, "--batch-size", 2)),
    ("semi", "trained", "index", ("--epochs", 30, "--batch-size", 4, "--fraction", 0.5)),
    ("segment-voc", "resnet18", "folder", ("--iterations", 6, "--batch-size", 2, "--evaluations", 2)),
    ("landmarks", "trained", "faces", ("--iterations", 210, "--batch-size", 2, "--evaluations", 3)),
)


def all_of(sources: dict[str, Path]) -> list[Scenario]:
    """sources: what `sources.make` gave, by name."""
    found = [each.scenario(sources) for each in PRETRAINING]
    for task, encoder, source, more in EVALUATIONS:
        weights = sources.get(encoder, f"random:{encoder}")
        words = ("evaluate", task, "--weights", weights, "--data", sources[source], "--image-size", 48, *HERE, *more)
        found.append(Scenario(f"evaluate {task}", words))
    return found
