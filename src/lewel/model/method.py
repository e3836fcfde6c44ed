"""L = sum over directions and terms of weight * objective(predict(Y(view)), Y'(other view)): every method."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lewel.config import Direction
from lewel.errors import UserError
from lewel.model.branch import Branch
from lewel.model.encoder import Encoder
from lewel.model.target import Other, split
from lewel.shapes import Compared, Embeddings, View


@runtime_checkable
class Advances(Protocol):
    """An objective whose state moves on after each accepted step, once a micro-batch: one `Compared` a direction."""

    def after_step(self, *compared: Compared) -> None: ...


@runtime_checkable
class Prepares(Protocol):
    """An objective that does something before the passes of a step, such as making its prototypes unit vectors."""

    def before_step(self, step: int, total_steps: int) -> None: ...


class Method(nn.Module):
    """`loss, out = method(view1, view2)`; views are `View`s or plain (b, 3, h, w) tensors.

    A forward in train mode changes nothing but BN's running statistics. The loop calls, once an optimizer step,
        before_step(step, total_steps)   MoCo's moving average, before the keys are made
        after_step(out, ...)             BYOL's moving average; the queue takes the keys (one `out` a micro-batch)
    and skips `after_step` when it rejects the step. `out` holds, detached:
        "loss/TERM" ()   "compared" {TERM: a `Compared` a direction}
        of the first view that predicts: "embeddings" {TERM: (b, n, d)}   "maps" {TERM: (b, m, h, w)}   "pooled" (b, c)

    Directions that share no view have losses that share no activations: `method(view1, view2, part=0)` and `part=1`.
    Their sum, and that of their gradients, is the whole; one at a time they need half of the memory. `parts` says how
    many there are, `joined` makes one `out` of theirs.
    """

    pending: Tensor

    def __init__(
        self,
        online: Branch,
        predictors: nn.ModuleDict,
        objectives: nn.ModuleDict,
        weights: dict[str, float],
        target: Other,
        directions: Sequence[Direction],
        pairings: nn.ModuleDict,
        batched: bool = False,
        takes_geometry: bool = False,
    ):
        super().__init__()
        self.pairings, self.batched, self.takes_geometry = pairings, batched, takes_geometry
        self.takes_indices = any(getattr(each, "takes_indices", False) for each in objectives.values())
        target.gives_features = len(pairings) > 0
        self.online, self.predictors, self.objectives, self.target = online, predictors, objectives, target
        self.weights, self.directions = weights, tuple(directions)
        self.step, self.total_steps = 0, 1
        # whether MoCo's average of the coming step is still to do: not after a rejected step, whose weights it has seen
        self.register_buffer("pending", torch.ones((), dtype=torch.bool))
        self._pending = True
        self._seen: int | None = (
            None  # version of the online weights at a forward that no `after_step` has followed yet
        )
        self.register_load_state_dict_post_hook(lambda module, _: module._read_pending())

    def forward(
        self, *views: View | Tensor, part: int | None = None, indices: Int[Tensor, " b"] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        if self.training and torch.is_grad_enabled():
            self._expect_after_step()
        pixels = [view.pixels if isinstance(view, View) else view for view in views]
        directions = self.directions if part is None else self.directions[part : part + 1]
        online, target = self._embeddings(pixels, directions)

        losses = {name: pixels[0].new_zeros((), dtype=torch.float32) for name in self.weights}
        compared: dict[str, tuple[Compared, ...]] = dict.fromkeys(losses, ())
        for direction in directions:
            for name in losses:
                rows, other = online[direction.view].embeddings[name], target[direction.other].embeddings[name]
                predicted = self.predictors[name](rows) if name in self.predictors else rows
                both = (online[direction.view], target[direction.other], views[direction.view], views[direction.other])
                loss = self._compare(name, predicted, other, self._pairs(name, *both), indices)
                losses[name] = losses[name] + direction.weight * loss
                compared[name] += (Compared(predicted.detach(), other.detach(), indices),)
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

        first = online[directions[0].view]
        height, width = first.features.size
        return total, {
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "compared": compared,
            "embeddings": {name: rows.detach() for name, rows in first.embeddings.items()},
            "maps": {
                name: m.detach().unflatten(2, (height, width)) for name, m in first.maps.items() if m.shape[1] > 1
            },
            "pooled": first.features.tokens.detach().mean(dim=1),
        }

    def _embeddings(
        self, pixels: Sequence[Tensor], directions: Sequence[Direction]
    ) -> tuple[dict[int, Embeddings], dict[int, Embeddings]]:
        """Those of the online network and of the target, by view."""
        predicting, predicted = ({d.view for d in directions}, {d.other for d in directions})
        mine = predicting | predicted if self.target.reads_online else predicting
        if self.batched:
            together = split(self.online(torch.cat([pixels[i] for i in sorted(mine)])), len(mine))
            online = dict(zip(sorted(mine), together, strict=True))
        else:
            online = {i: self.online(pixels[i]) for i in sorted(mine)}
        return online, self.target.embeddings({j: pixels[j] for j in sorted(predicted)}, online, self.step)

    def _pairs(
        self, name: str, mine: Embeddings, other: Embeddings, view: View | Tensor, other_view: View | Tensor
    ) -> Float[Tensor, "b n m"] | None:
        """A term's weights over pairs of rows; None where they are paired by index."""
        if name not in self.pairings:
            return None
        views = (each if isinstance(each, View) else View(each) for each in (view, other_view))
        pairs = self.pairings[name](mine, other, *views)
        rows = (mine.embeddings[name].shape[1], other.embeddings[name].shape[1])
        if pairs.shape[1:] != rows:
            raise UserError(f"term {name} has {rows} rows and pairs of {tuple(pairs.shape[1:])}; it needs Pixel maps")
        return pairs

    def _compare(
        self, name: str, predicted: Tensor, other: Tensor, pairs: Tensor | None, indices: Tensor | None
    ) -> Float[Tensor, ""]:
        objective = self.objectives[name]
        more = {"indices": indices} if getattr(objective, "takes_indices", False) else {}
        if pairs is not None and getattr(objective, "takes_pairs", False):
            return objective(predicted, other, pairs=pairs.to(other.dtype), **more)
        if pairs is not None:
            other = (pairs / pairs.sum(dim=2, keepdim=True)).to(other.dtype) @ other
        return objective(predicted, other, **more)

    def parts(self, *views: View | Tensor) -> int:
        """Of the loss of these views, that can be computed one after the other without doing anything twice."""
        sides = [[d.view for d in self.directions], [d.other for d in self.directions]]
        apart = all(len(set(side)) == len(side) for side in sides) and not (self.target.reads_online or self.batched)
        return len(self.directions) if apart else 1

    @staticmethod
    def joined(outs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The `out` of the whole: the first part's, with the sums of the losses and what all parts have compared."""
        losses = [name for name in outs[0] if name.startswith("loss/")]
        compared = {name: sum((out["compared"][name] for out in outs), ()) for name in outs[0]["compared"]}
        whole = {name: torch.stack([out[name] for out in outs]).sum() for name in losses}
        return outs[0] | whole | {"compared": compared}

    @property
    def encoder(self) -> Encoder:
        """The network that is wanted."""
        return self.online.encoder

    def compile_encoders(self) -> None:
        """By torch.compile, online and target; the rest is small, or different in every method."""
        self.online.compile_encoder()
        self.target.compile_encoder()

    def before_step(self, step: int, total_steps: int) -> None:
        """Move MoCo's target. Called again without `after_step` between (a rejected step), it does so only once."""
        self.step, self.total_steps = step, total_steps
        for objective in self.objectives.values():
            if isinstance(objective, Prepares):
                objective.before_step(step, total_steps)
        if self._pending:
            self.target.before_step(self.online, step, total_steps)
        self._set_pending(False)

    def after_step(self, *outs: dict[str, Any]) -> None:
        """Move BYOL's target, then let the objectives take what was compared in every micro-batch."""
        self.target.after_step(self.online, self.step, self.total_steps)
        for out in outs:
            for name, objective in self.objectives.items():
                if isinstance(objective, Advances):
                    objective.after_step(*out["compared"][name])
        self._set_pending(True)
        self._seen = None

    def diagnostics(self) -> dict[str, float]:
        """The target's."""
        return self.target.diagnostics(self.online)

    def _expect_after_step(self) -> None:
        """Warn where the optimizer has moved the weights, and `after_step` has not moved the target since."""
        version = next(parameter for parameter in self.online.parameters() if parameter.requires_grad)._version
        if self._seen not in (None, version):
            warnings.warn(
                "the optimizer has stepped, but method.after_step(out) was not called: the target network or the queue "
                "stays as it was; call method.before_step(step, total_steps) before each optimizer step and "
                "method.after_step(out) behind it",
                stacklevel=4,
            )
        self._seen = version

    def _set_pending(self, value: bool) -> None:
        self._pending = value  # read on the host, without asking the device
        self.pending.fill_(value)

    def _read_pending(self) -> None:
        self._pending, self._seen = bool(self.pending), None
