"""What a run does after a step, beside watching its health: the list of skipped images, evaluating, and saving."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lewel import config, parallel
from lewel.data.decode import printable
from lewel.data.images import Source
from lewel.data.skips import SkipLog
from lewel.engine import checkpoint, files, run_log, status
from lewel.engine.background import Background
from lewel.engine.identity import Identity
from lewel.engine.loop import Step
from lewel.engine.precision import Precision
from lewel.engine.progress import Progress
from lewel.engine.record import Record
from lewel.engine.signals import Interrupted
from lewel.engine.state import Training
from lewel.errors import reason as error_reason
from lewel.evaluate import during
from lewel.interop import weights
from lewel.interop.runs import INITIAL
from lewel.model.encoder import Encoder
from lewel.shapes import Skip
from lewel.visualize import report

log = logging.getLogger(__name__)


@dataclass
class Skips:
    """Collects the unreadable images of all processes every `every` steps; process 0 keeps the list.

    Raises UserError on every process once too many were skipped (see `SkipLog`).
    """

    log: SkipLog | None  # on process 0
    every: int
    waiting: list[Skip] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        self.waiting += step.batch.skipped
        if step.number % self.every and not step.last:
            return
        everyone, self.waiting = parallel.all_gather_objects(self.waiting), []
        parallel.on_main(lambda: self.keep(everyone))

    def keep(self, skipped: list[Skip]) -> None:
        """On process 0: list the images that are new, in skipped.jsonl and train.log."""
        assert self.log is not None
        for skip in self.log.add(skipped):
            log.warning("skipped %s: %s", printable(skip.path), skip.reason)


@dataclass
class Evaluate:
    """Evaluations of the encoder every `every` steps and after the last one of the run, on process 0.

    The others wait. Changes nothing of the training.
    """

    names: Sequence[str]  # of `during.TITLES`
    encoder: Encoder
    keys: Source
    queries: Source | None  # None: nothing is measured
    data: config.Data
    precision: Precision
    workers: int
    every: int
    steps_per_epoch: int
    record: Record
    progress: Progress
    skips: Skips

    def __post_init__(self) -> None:
        if self.queries is not None:
            self.keys, self.queries = during.few(self.keys, self.queries)

    def __call__(self, step: Step) -> None:
        if step.number % self.every == 0 or step.number == step.total_steps:
            self.measure(step.number)

    def measure(self, step: int) -> None:
        """Raises UserError on every process where the images cannot be used."""
        queries = self.queries
        if queries is not None:
            parallel.on_main(lambda: self._measure(step, queries), lambda reason: f"not evaluated: {reason}")

    def _measure(self, step: int, queries: Source) -> None:
        skipped: list[Skip] = []
        began, epoch = time.perf_counter(), step / self.steps_per_epoch
        found = during.measure(
            self.names, self.encoder, self.keys, queries, self.data, self.precision, self.workers, skipped
        )
        seconds = time.perf_counter() - began
        self.skips.keep(skipped)
        row = {f"{measured.name}/top1": measured.top1 for measured in found}
        self.record.write({"step": step, "epoch": epoch, **row, "evaluate_s": seconds})
        rest = f", {len(skipped)} images unreadable" if skipped else ""
        for measured in found:
            text = f"epoch {epoch:g}: {during.TITLES[measured.name]} top-1 {measured.top1:.2f} % ({measured.how}{rest})"
            ended = f", evaluated in {seconds:.1f} s" if measured is found[-1] else ""
            self.progress.console.print(text + ended)


@dataclass
class Save:
    """Every `every` steps and after the last one: a checkpoint and the encoder.

    The state is copied, and written while the training goes on; after the last step it is waited for.
    Raises UserError on every process when the disk is full, by the next save at the latest; the checkpoints before are
    whole.
    """

    directory: Path
    training: Training
    identity: Identity
    encoder: Encoder
    facts: Mapping[str, Any]  # written into encoder.safetensors
    every: int
    keep: int

    def __post_init__(self) -> None:
        self.background = Background(self._not_written)

    def __call__(self, step: Step) -> None:
        if step.number % self.every and not step.last:
            return
        content = checkpoint.prepare(self.directory, step.number, self.training, self.identity, self.keep)
        encoder = weights.encoder_bytes(self.encoder, self.facts) if content else b""
        self.background.start(content and (lambda: self._write(content, encoder)))
        if step.last:
            self.background.finish()

    def initial(self, init: str) -> None:
        """initial.safetensors, where the encoder does not begin with random weights, which the seed gives again."""
        if init != "random":
            parallel.on_main(
                lambda: weights.save_encoder(self.encoder, self.directory / INITIAL, self.facts), self._not_written
            )

    def publish(self) -> None:
        """encoder.safetensors as the encoder is now: a kill may have come before it was written."""
        parallel.on_main(lambda: self._publish(weights.encoder_bytes(self.encoder, self.facts)), self._not_written)

    def close(self) -> None:
        """Wait for what is still being written."""
        self.background.close()

    def _write(self, content: checkpoint.Content, encoder: bytes) -> None:
        checkpoint.write(content)
        self._publish(encoder)

    def _publish(self, encoder: bytes) -> None:
        files.replace(self.directory / weights.ENCODER_FILE, encoder)

    def _not_written(self, reason: str) -> str:
        return (
            f"{self.directory} not written ({reason}); the checkpoints are whole, the same command goes on from there"
        )


@dataclass
class Report:
    """status.json and report.html, on process 0: at every checkpoint, and when the run ends, however it ends.

    What goes wrong with them is told once, and never ends the run.
    """

    directory: Path
    step: int
    total_steps: int
    every: int
    failed: bool = False

    def __call__(self, step: Step) -> None:
        self.step = step.number
        if step.number % self.every == 0 and not step.last:
            self.write("running")

    @contextmanager
    def until_the_end(self) -> Iterator[None]:
        """Context of the whole training."""
        self.write("running")
        try:
            yield
        except BaseException as error:
            self.write("stopped" if isinstance(error, Interrupted) else "failed", run_log.ending(error))
            raise
        self.step = self.total_steps
        self.write("done")

    def write(self, state: status.State, reason: str = "") -> None:
        if not parallel.is_main():
            return
        try:
            status.write(self.directory, status.Status(self.step, self.total_steps, state, reason))
            report.write(self.directory)
        except Exception as error:
            if not self.failed:
                why = error_reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                log.warning("%s not written (%s); the run goes on without it", self.directory / "report.html", why)
            self.failed = True
