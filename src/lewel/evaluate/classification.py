"""What a classifier made of the images of val, image by image, and the numbers that follow from it.

Scores are images x classes, which with many classes no memory holds: they are made in parts of `AT_ONCE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lewel.evaluate import metrics
from lewel.evaluate.intervals import Mean, PerImage
from lewel.evaluate.job import Values
from lewel.evaluate.protocols import Protocol

AT_ONCE = 2**27  # scores in memory at the same time: 0.5 GB


@dataclass(frozen=True)
class Outcome:
    """All (n,) int64.

    images: indices in val.  labels: the true classes.  predicted: the classes with the largest score.
    rank: how many classes stood before the true one, by `metrics.true_rank`.
    """

    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], images: Int[Tensor, " n"]) -> Outcome:
        found = (images, labels, scores.argmax(dim=1), metrics.true_rank(scores, labels))
        return cls(*(each.cpu().numpy() for each in found))

    @classmethod
    def joined(cls, parts: Iterable[Outcome]) -> Outcome:
        """Of the images of all parts, in their order."""
        each = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in each]) for field in fields(cls)))

    @classmethod
    def in_parts(
        cls,
        scores: Callable[[Tensor], Tensor],
        rows: Float[Tensor, "n c"],
        labels: Int[Tensor, " n"],
        images: Int[Tensor, " n"],
        classes: int,
    ) -> Outcome:
        """scores: features (b, c) -> (b, classes)."""
        parts = (each.split(rows_at_once(classes)) for each in (rows, labels, images))
        return cls.joined(cls.of(scores(row), label, image) for row, label, image in zip(*parts, strict=True))

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file; `Outcome(**arrays)` is the way back."""
        return {"images": self.images, "labels": self.labels, "predicted": self.predicted, "rank": self.rank}

    def top(self, k: int) -> float:
        """Top-k accuracy in per cent."""
        return 100 * float((self.rank < k).mean())

    def values(self, names: tuple[str, ...]) -> Values:
        """top1, top5, the mean over the classes, and each class; `predictions` has what stands behind them."""
        found = metrics.per_class(torch.from_numpy(self.predicted), torch.from_numpy(self.labels), len(names))
        yield "top1", self.top(1)
        if len(names) > 5:
            yield "top5", self.top(5)
        yield "mean_per_class", found.nanmean().item()
        yield "per_class", dict(zip(names, _finite(found.tolist()), strict=True))

    def per_image(self) -> dict[str, PerImage]:
        """The metrics that are means over images, image by image."""
        of_class = 1 / np.bincount(self.labels)[self.labels]

        def share(right: np.ndarray, weights: Float64[np.ndarray, " n"] | None = None) -> Mean:
            return Mean.of(100.0 * right, self.images, weights, (0, 100))

        right = self.rank < 1
        return {"top1": share(right), "top5": share(self.rank < 5), "mean_per_class": share(right, of_class)}


def per_image(arrays: Mapping[str, np.ndarray], protocol: Protocol) -> Mapping[str, PerImage]:
    """Of an outcome's arrays."""
    return Outcome(**arrays).per_image()


def rows_at_once(scores: int) -> int:
    """How many rows with so many scores each may be in memory."""
    return max(AT_ONCE // scores, 1)


def mean_in_parts(
    mean: Callable[[Tensor, Tensor], Tensor], rows: Float[Tensor, "n c"], labels: Int[Tensor, " n"], scores: int
) -> Tensor:
    """`mean(rows, labels)`, over as many rows at a time as memory has room for the scores of.

    Of several parts each makes its scores once more in the backward pass.
    """
    size = rows_at_once(scores)
    if len(rows) <= size:
        return mean(rows, labels)
    parts = zip(rows.split(size), labels.split(size), strict=True)
    found = [checkpoint(mean, *part, use_reentrant=False) * (len(part[0]) / len(rows)) for part in parts]
    return torch.stack(found).sum(dim=0)


def _finite(values: list[float]) -> list[Any]:
    """JSON knows no nan: a class without images has None."""
    return [None if value != value else value for value in values]
