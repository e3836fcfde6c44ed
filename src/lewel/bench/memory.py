"""`lewel bench memory`: the peak of a training step, and which part of it grows with the images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lewel import config
from lewel.bench import compare
from lewel.bench.apart import started
from lewel.bench.step import Entrant
from lewel.console import Table

UNITS = 3


@dataclass(frozen=True)
class Peak:
    """bytes: the most that the contender's process (on a GPU: its tensors) held, by images in a batch."""

    name: str
    bytes: dict[int, float]

    @property
    def most(self) -> float:
        return self.bytes[max(self.bytes)]

    @property
    def an_image(self) -> float:
        """Bytes that one more image takes: of activations."""
        few, many = min(self.bytes), max(self.bytes)
        return (self.bytes[many] - self.bytes[few]) / (many - few)

    @property
    def fixed(self) -> float:
        """Bytes without an image: the program, weights, gradients, optimizer, target, queue."""
        return self.most - self.an_image * max(self.bytes)


def measure(lines: list[Entrant]) -> list[Peak]:
    """Each entrant in fresh processes, with the whole batch and with half of it, some steps each."""
    return [Peak(line.name, dict(_peak(line, share) for share in (2, 1))) for line in lines]


def _peak(line: Entrant, share: int) -> tuple[int, float]:
    batch = line.setup.recipe.optimizer.batch_size // share
    setup = replace(line.setup, recipe=_with_batch(line.setup.recipe, batch), steps=1, machine=None)
    with started({line.name: (line.make, setup)}) as (process,):
        for _ in range(UNITS):
            process.run()
        return batch, process.facts["peak_bytes"]


def _with_batch(recipe: config.Recipe, batch_size: int) -> config.Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, batch_size=batch_size))


def table(title: str, peaks: list[Peak]) -> Table:
    made = compare.empty_table(title, "peak GB", "of the first", "MB an image", "GB beside")
    for peak in peaks:
        made.add_row(
            peak.name,
            f"{peak.most / 1e9:.2f}",
            f"{peak.most / peaks[0].most:.3f}",
            f"{peak.an_image / 1e6:.0f}",
            f"{peak.fixed / 1e9:.2f}",
        )
    return made


def as_dict(peak: Peak) -> dict[str, Any]:
    """For the file."""
    return {"name": peak.name, "bytes": peak.bytes, "bytes_an_image": peak.an_image, "bytes_fixed": peak.fixed}
