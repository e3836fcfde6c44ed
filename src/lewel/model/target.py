"""Y': what is predicted. xi, the momentum network, and when and how it follows the online one."""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lewel import parallel
from lewel.model import batchnorm
from lewel.model.branch import Branch
from lewel.model.folding import Folded, pairs
from lewel.shapes import Embeddings


def momentum_at(step: int, total_steps: int, base: float, schedule: str) -> float:
    """m_t = base, or 1 - (1 - base)(cos(pi t / T) + 1) / 2, the published cosine: base at t = 0, 1 at t = T."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2


class Other(nn.Module):
    """A target: the embeddings that are predicted, and what moves them.

    reads_online: they come from the online embeddings of the same views, and no other network is run.
    folds: an inference copy of a branch is kept beside it.
    gives_features: the feature maps are wanted, too, image by image as the embeddings are.
    """

    reads_online = False
    folds = False
    gives_features = False

    def embeddings(
        self, views: dict[int, Float[Tensor, "b 3 height width"]], online: dict[int, Embeddings], step: int
    ) -> dict[int, Embeddings]:
        """Of each view, by its number.

        online: those of the online network, of the views that predict; of these too, where `reads_online`.
        step: of the optimizer, as a seed.
        """
        raise NotImplementedError

    def compile_encoder(self) -> None:
        """By torch.compile, where it has one of its own."""

    def before_step(self, online: Branch, step: int, total_steps: int) -> None:
        """Move before the passes of a step; not again where a rejected step is repeated."""

    def after_step(self, online: Branch, step: int, total_steps: int) -> None:
        """Move after the optimizer's step."""

    def diagnostics(self, online: Branch) -> dict[str, float]:
        """Numbers for the record."""
        return {}


class OnlineTarget(Other):
    """The online network itself: the embeddings of the other view, with gradient or without."""

    reads_online = True

    def __init__(self, detach: bool):
        super().__init__()
        self.detach = detach

    def embeddings(
        self, views: dict[int, Float[Tensor, "b 3 height width"]], online: dict[int, Embeddings], step: int
    ) -> dict[int, Embeddings]:
        if not self.detach:
            return {view: online[view] for view in views}
        return {
            view: online[view]._replace(
                embeddings={name: rows.detach() for name, rows in online[view].embeddings.items()}
            )
            for view in views
        }


class MomentumTarget(Other):
    """A copy of the online branch, without gradient, moved by xi <- m xi + (1 - m) theta.

    EMAN (`batchnorm="running"`): eval mode always; the BN running statistics are averaged with the weights. The passes
    run on a derived copy with BN folded, all views at once.
    `batchnorm="batch"`: train mode, statistics of the batch, one pass a view; the average covers the parameters only.
    """

    def __init__(
        self,
        online: Branch,
        momentum: float,
        schedule: Literal["constant", "cosine"] = "constant",
        update: Literal["before", "after"] = "after",
        batchnorm: Literal["running", "batch"] = "running",
        shuffle: bool = False,
    ):
        super().__init__()
        self.momentum, self.schedule, self.moves = momentum, schedule, update
        self.batchnorm, self.shuffle = batchnorm, shuffle
        self.folds = batchnorm == "running"
        self.branch = copy.deepcopy(online).requires_grad_(False)
        self._folded: dict[tuple[torch.device, torch.dtype | None], Folded] = {}  # derived, never saved
        self._stale, self._compiled = True, False
        self.train(self.training)

    def train(self, mode: bool = True) -> MomentumTarget:
        super().train(mode)
        if self.batchnorm == "running":
            self.branch.eval()
        return self

    def compile_encoder(self) -> None:
        """That of the branch that makes the passes: see `Branch.compile_encoder`."""
        self._compiled, self._folded = True, {}
        if self.batchnorm == "batch":
            self.branch.compile_encoder()

    def embeddings(
        self, views: dict[int, Float[Tensor, "b 3 height width"]], online: dict[int, Embeddings], step: int
    ) -> dict[int, Embeddings]:
        return dict(zip(views, self(list(views.values()), step), strict=True))

    @torch.no_grad()
    def forward(self, views: list[Float[Tensor, "b 3 height width"]], step: int) -> list[Embeddings]:
        """One `Embeddings` a view. `step` seeds the permutation of ShuffleBN."""
        if self.batchnorm == "running":
            return split(self.inference_branch(views[0])(torch.cat(views)), len(views))
        if self.shuffle:
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
        features = result.features
        if self.gives_features:
            features = features._replace(tokens=parallel.all_gather(features.tokens.contiguous())[back])
        return result._replace(embeddings=restored, features=features)

    def before_step(self, online: Branch, step: int, total_steps: int) -> None:
        if self.moves == "before":
            self.update(online, self.momentum_at(step, total_steps))

    def after_step(self, online: Branch, step: int, total_steps: int) -> None:
        if self.moves == "after":
            self.update(online, self.momentum_at(step, total_steps))

    def momentum_at(self, step: int, total_steps: int) -> float:
        """m at this step."""
        return momentum_at(step, total_steps, self.momentum, self.schedule)

    @torch.no_grad()
    def diagnostics(self, online: Branch) -> dict[str, float]:
        """target_distance: |xi - theta| / |theta| over all parameters of the branch."""
        theta: list[Tensor] = list(online.parameters())
        xi: list[Tensor] = list(self.branch.parameters())
        apart = torch._foreach_norm(torch._foreach_sub(xi, theta))
        size = torch._foreach_norm(theta)
        return {"target_distance": float(torch.stack(apart).norm() / torch.stack(size).norm())}

    @torch.no_grad()
    def update(self, online: Branch, momentum: float) -> None:
        """xi <- m xi + (1 - m) theta, in place and in the weights' own precision."""
        xi: list[Tensor] = list(self.branch.parameters())
        theta: list[Tensor] = list(online.parameters())
        torch._foreach_lerp_(xi, theta, 1 - momentum)
        if self.batchnorm == "running":
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


def split(together: Embeddings, parts: int) -> list[Embeddings]:
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
