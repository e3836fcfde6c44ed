"""How the embeddings of two views are compared; the mean over rows (b * n) is the term's loss.

    kind      loss
    Cosine    2 - 2 cos (BYOL)
    Queue     InfoNCE, negatives are the last `queue` keys (MoCo)
    InBatch   InfoNCE, negatives are the target's embeddings of the other images of the global batch (LEWEL_M)

A kind of one's own subclasses `Objective`, with a `build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lewel.checked import AboveZero, Kind, Positive

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Objective(Kind):
    """Role: compares the predicted embeddings of one view with the target's of the other."""

    def build(self, dim: int) -> nn.Module:
        """The module: `module(a, b)` -> loss, a and b (b, n, dim): predicted, and of the target.

        b has a gradient where the target is `Online`. A term's pairing has made each row of b the mean of those that
        the row of a is paired with. Of the module's attributes
            takes_pairs = True     b is as it is, and a pairing's weights (b, n, m) come as `pairs=`
            takes_indices = True   the images' numbers (b,) come as `indices=`
        Its state is buffers, which a forward leaves alone; it moves on in
            before_step(step, total_steps)   before the passes of a step
            after_step(*compared)            after an accepted one, once a micro-batch: a `Compared` a direction
        """
        raise NotImplementedError

    @property
    def takes_pairs(self) -> bool:
        """Whether it weighs pairs of rows itself, so that some rows may be in none."""
        return False

    def negatives(self, images: int, embeddings: int | None) -> int | None:
        """How many embeddings each one is compared with, beside its own: for the plan that is printed.

        Args:
            images: of a forward, over all processes.
            embeddings: n of one image, or None where only the feature map's size tells.

        Returns: None where there are none, or it is not known.
        """
        return None


@dataclass(frozen=True)
class Cosine(Objective):
    def build(self, dim: int) -> nn.Module:
        from lewel.model import objective

        return objective.Cosine()

    @property
    def takes_pairs(self) -> bool:
        return True


@dataclass(frozen=True)
class Queue(Objective):
    """temperature: of the softmax.  queue: keys that are kept.

    takes: of an image, "rows" = each of its embeddings, or "mean" = the mean of them (DenseCL).
    """

    temperature: AboveZero = 0.2
    queue: Positive = 65536
    takes: Literal["rows", "mean"] = "rows"

    def build(self, dim: int) -> nn.Module:
        from lewel.model import objective

        return objective.QueueInfoNCE(dim, self.queue, self.temperature, self.takes)

    def negatives(self, images: int, embeddings: int | None) -> int:
        return self.queue


@dataclass(frozen=True)
class InBatch(Objective):
    """temperature: of the softmax.  same_index: negatives of the row's own index only."""

    temperature: AboveZero = 0.2
    same_index: bool = False

    def build(self, dim: int) -> nn.Module:
        from lewel.model import objective

        return objective.InBatchInfoNCE(self.temperature, self.same_index)

    def negatives(self, images: int, embeddings: int | None) -> int | None:
        each = 1 if self.same_index else embeddings
        return None if each is None else (images - 1) * each
