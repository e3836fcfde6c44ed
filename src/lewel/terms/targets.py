"""What the predicted embeddings are compared with: the other view's embeddings, by which network.

A kind of one's own subclasses `Target`, with a `build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lewel.checked import BelowOne, Kind

if TYPE_CHECKING:
    from lewel.model.branch import Branch
    from lewel.model.target import Other


@dataclass(frozen=True)
class Target(Kind):
    """Role: the network of the other view."""

    def build(self, online: Branch) -> Other:
        """The module, for the method's online branch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Online(Target):
    """The online network, with gradient: SimCLR, Barlow Twins."""

    def build(self, online: Branch) -> Other:
        from lewel.model.target import OnlineTarget

        return OnlineTarget(detach=False)


@dataclass(frozen=True)
class Detached(Target):
    """The online network, without gradient: SimSiam."""

    def build(self, online: Branch) -> Other:
        from lewel.model.target import OnlineTarget

        return OnlineTarget(detach=True)


@dataclass(frozen=True)
class Momentum(Target):
    """The momentum network. m is the share that it keeps of itself.

    schedule: "constant", or "cosine": m_t = 1 - (1 - m)(cos(pi t / T) + 1) / 2.
    update: "before" the key pass (MoCo) or "after" the optimizer's step (BYOL).
    batchnorm: "running" = EMAN: running statistics, averaged with the weights; "batch" = statistics of the batch.
    shuffle: ShuffleBN: the batch is permuted over all groups of BN statistics for the target's pass.
    """

    momentum: BelowOne
    schedule: Literal["constant", "cosine"] = "constant"
    update: Literal["before", "after"] = "after"
    batchnorm: Literal["running", "batch"] = "running"
    shuffle: bool = False

    def build(self, online: Branch) -> Other:
        from lewel.model.target import MomentumTarget

        return MomentumTarget(online, self.momentum, self.schedule, self.update, self.batchnorm, self.shuffle)
