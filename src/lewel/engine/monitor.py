"""The callback that watches a run: measures its health, writes the record, moves the progress, warns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lewel import parallel
from lewel.engine.health import Health, Verdict, verdict
from lewel.engine.loop import Step
from lewel.engine.progress import Progress
from lewel.engine.record import Record

log = logging.getLogger(__name__)


@dataclass
class Monitor:
    """Every `every` steps, at the first and at the last one, a row goes to the record and the progress.

    The first and the last step of a start go to the progress too, and not to the record: it has the rows of an unbroken
    run. health: the run's, which its checkpoints keep.   warmup_steps, bn_images: see `health.verdict`.
    """

    module: nn.Module
    record: Record
    progress: Progress
    health: Health
    every: int = 50
    warmup_steps: int = 0
    bn_images: int | None = None
    verdict: Verdict = field(default=Verdict("warming up", ""), init=False)

    def __post_init__(self) -> None:
        self._images, self._total_s, self._data_s, self._first = 0, 0.0, 0.0, True

    def __call__(self, step: Step) -> None:
        self._images += step.images
        self._total_s += step.total_s
        self._data_s += step.data_s
        self.health.rejected += not step.accepted
        if step.accepted and step.outs:
            self.health.observe(step.outs[-1])
        self.progress.advance(step.number)
        is_row = step.number % self.every == 0 or step.number in (1, step.total_steps)
        if is_row or step.last or self._first:
            self._log(step, is_row)
        self._first = False

    def _log(self, step: Step, is_row: bool) -> None:
        loss = parallel.all_reduce_(torch.tensor(float(step.loss)), "mean").item()
        if parallel.is_main():
            row = {"step": step.number, "loss": loss, "lr": step.lr, "gradient_norm": float(step.gradient_norm)}
            row |= self.health.measure(step.outs[-1], self.module) | self._times(step)
            steps = [old for old in self.record.rows if "loss" in old]  # evaluations have rows of their own
            self._judge([*steps, row])
            row["verdict"] = self.verdict.word
            if is_row:
                self.record.write(row)
            self.progress.show(row, final=step.last)
        if is_row:
            self._images, self._total_s, self._data_s, self.health.rejected = 0, 0.0, 0.0, 0

    def _times(self, step: Step) -> dict[str, Any]:
        """Means since the last row; the rejected steps are counted."""
        seconds = max(self._total_s, 1e-9)
        since = self._images / max(step.images, 1)
        return {
            "images_per_s": self._images / seconds,
            "data_wait": self._data_s / seconds,
            "left_s": (step.total_steps - step.number) * seconds / max(since, 1),
            "rejected": self.health.rejected,
        }

    def _judge(self, rows: Sequence[Mapping[str, Any]]) -> None:
        before, self.verdict = self.verdict, verdict(rows, self.warmup_steps, self.bn_images)
        if self.verdict.word in ("low rank", "collapsing") and before.word != self.verdict.word:
            log.warning("step %d, %s", rows[-1]["step"], self.verdict)
