"""What a classifier made of the images of val, image by image, and the numbers that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lewel.evaluate import metrics
from lewel.evaluate.job import Values


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

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file; `Outcome(**arrays)` is the way back."""
        return {"images": self.images, "labels": self.labels, "predicted": self.predicted, "rank": self.rank}

    def top(self, k: int) -> float:
        """Top-k accuracy in per cent."""
        return 100 * float((self.rank < k).mean())

    def values(self, names: tuple[str, ...]) -> Values:
        """top1, top5, the mean over the classes, and each class; `predictions` has what stands behind them."""
        matrix = metrics.confusion(torch.from_numpy(self.predicted), torch.from_numpy(self.labels), len(names))
        yield "top1", self.top(1)
        if len(names) > 5:
            yield "top5", self.top(5)
        yield "mean_per_class", metrics.mean_per_class(matrix)
        yield "per_class", dict(zip(names, _finite(metrics.per_class(matrix).tolist()), strict=True))


def _finite(values: list[float]) -> list[Any]:
    """JSON knows no nan: a class without images has None."""
    return [None if value != value else value for value in values]
