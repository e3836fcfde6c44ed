"""What an evaluation is given, and what it gives: named values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from jaxtyping import Float, Int
from torch import Tensor

from lewel import config
from lewel.console import Console
from lewel.engine.precision import Precision
from lewel.evaluate import features
from lewel.evaluate.cache import Extracted, FeatureCache
from lewel.evaluate.parts import Divided, Labelled, Part
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.subject import Subject
from lewel.shapes import Skip


@dataclass(frozen=True)
class Job(Generic[Part]):
    """One protocol on one set of weights with one seed.

    directory: the job's own, for its record and checkpoints.
    skipped: takes the images that cannot be read; they are left out of val, and replaced in training.
    """

    protocol: Protocol
    subject: Subject
    data: Divided[Part]
    seed: int
    directory: Path
    precision: Precision
    workers: int
    console: Console
    skipped: list[Skip]
    known: FeatureCache

    @property
    def image_size(self) -> int:
        """Pixels a side: the protocol has it once the weights are known."""
        assert self.protocol.image_size is not None
        return self.protocol.image_size

    def numbers(self, *views: config.View) -> config.Data:
        """Size and normalisation of the images, with the views of training where there are some."""
        return config.Data(self.image_size, views, self.subject.mean, self.subject.std)

    def skip(self, found: Iterable[Skip]) -> None:
        """Add the images that cannot be read, each once."""
        self.skipped.extend(skip for skip in found if skip not in self.skipped)

    def features(self, part: Labelled) -> tuple[Float[Tensor, "n c"], Int[Tensor, " n"]]:
        """The pooled features of a part's central views, and which images they are of."""
        of = (part.images.root, part.digest, self.protocol.image_size, self.precision)
        found = self.known.get(self.subject.digest, of, lambda: self._extracted(part))
        self.skipped.extend(found.skipped)
        return found.features, found.images

    def _extracted(self, part: Labelled) -> Extracted:
        skipped = list[Skip]()
        network, data = self.subject.features, self.numbers()
        rows, images = features.extract(network, part.images, data, self.precision, self.workers, skipped, self.console)
        return Extracted(rows, images, skipped)


Values = Iterator[tuple[str, Any]]
Task = Callable[[Job[Any]], Values]
