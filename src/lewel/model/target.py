"""xi: the momentum network, and when and how it follows the online one."""

from __future__ import annotations

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lewel import config, parallel
from lewel.model import batchnorm
from lewel.model.branch import Branch
from lewel.model.folding import Folded, pairs
from lewel.shapes import Embeddings


def momentum_at(step: int, total_steps: int, base: float, schedule: str) -> float:
    """m_t = base, or 1 - (1 - base)(cos(pi t / T) + 1) / 2, the published cosine: base at t = 0, 1 at t = T."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2


class MomentumTarget(nn.Module):
    """A copy of the online branch, without gradient, moved by xi <- m xi + (1 - m) theta.

    EMAN (`batchnorm="running"`): eval mode always; the BN running statistics are averaged with the weights. The passes
    run on a derived copy with BN folded, all views at once.
    `batchnorm="batch"`: train mode, statistics of the batch, one pass a view; the average covers the parameters only.
    """

    def __init__(self, online: Branch, target: config.Target):
        super().__init__()
        self.config = target
        self.branch = copy.deepcopy(online).requires_grad_(False)
        self._folded: dict[tuple[torch.device, torch.dtype | None], Folded] = {}  # derived, never saved
        self._stale, self._compiled = True, False
        self.train(self.training)

    def train(self, mode: bool = True) -> MomentumTarget:
        super().train(mode)
        if self.config.batchnorm == "running":
            self.branch.eval()
        return self

    def compile_encoder(self) -> None:
        """That of the branch that makes the passes: see `Branch.compile_encoder`."""
        self._compiled, self._folded = True, {}
        if self.config.batchnorm == "batch":
            self.branch.compile_encoder()

    @torch.no_grad()
    def forward(self, views: list[Float[Tensor, "b 3 height width"]], step: int) -> list[Embeddings]:
        """One `Embeddings` a view. `step` seeds the permutation of ShuffleBN."""
        if self.config.batchnorm == "running":
            return _split(self.inference_branch(views[0])(torch.cat(views)), len(views))
        if self.config.shuffle:
            return [self._shuffled(view, step) for view in views]
        return [self.branch(view) for view in views]

    def inference_branch(self, example: Tensor) -> nn.Module:
        """The branch with BN folded, in autocast's type: autocast itself would cast frozen weights at every use."""
        device = example.device
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        folded = self._folded.get((device, dtype))
        if folded is None:
            with torch.autocast(device.type, enabled=False):
                probe = example[:1].to(next(self.branch.parameters()).dtype)
                folded = Folded(self.branch, pairs(self.branch, probe), dtype)
            if self._compiled:
                assert isinstance(folded.twin, Branch)
                folded.twin.compile_encoder()
            self._folded = {(device, dtype): folded}
        elif self._stale:
            folded.refresh()
        self._stale = False
        return folded.twin

    def _shuffled(self, pixels: Tensor, step: int) -> Embeddings:
        """ShuffleBN: the key of an image is made beside other images than its query, so BN statistics tell nothing.

        The permutation is over the images of all processes, the same on each; the embeddings go back to their places.
        """
        b, rank = len(pixels), parallel.rank()
        everyone = parallel.all_gather(pixels)
        order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(step)).to(pixels.device)
        mine = slice(rank * b, (rank + 1) * b)
        result = self.branch(everyone[order[mine]])
        back = order.argsort()[mine]
        restored = {name: parallel.all_gather(rows.contiguous())[back] for name, rows in result.embeddings.items()}
        return result._replace(embeddings=restored)

    @torch.no_grad()
    def update(self, online: Branch, momentum: float) -> None:
        """xi <- m xi + (1 - m) theta, in place and in the weights' own precision."""
        xi: list[Tensor] = list(self.branch.parameters())
        theta: list[Tensor] = list(online.parameters())
        torch._foreach_lerp_(xi, theta, 1 - momentum)
        if self.config.batchnorm == "running":
            self._average_statistics(online, 1 - momentum)
        self._stale = True

    def _average_statistics(self, online: Branch, weight: float) -> None:
        xi, theta = batchnorm.statistics(self.branch), batchnorm.statistics(online)
        if xi.averages:
            torch._foreach_lerp_(xi.averages, theta.averages, weight)
            torch._foreach_copy_(xi.counts, theta.counts)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._stale = True

    def _apply(self, fn, recurse: bool = True) -> MomentumTarget:
        super()._apply(fn, recurse)
        self._folded = {}
        return self


def _split(together: Embeddings, parts: int) -> list[Embeddings]:
    """Undo the concatenation of the views."""
    b = len(together.features.tokens) // parts
    return [
        Embeddings(
            {name: rows[i * b : (i + 1) * b] for name, rows in together.embeddings.items()},
            {name: maps[i * b : (i + 1) * b] for name, maps in together.maps.items()},
            together.features._replace(tokens=together.features.tokens[i * b : (i + 1) * b]),
        )
        for i in range(parts)
    ]
