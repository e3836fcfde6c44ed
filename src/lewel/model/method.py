"""L = sum over directions and terms of weight * objective(predict(Y(view)), Y'(other view)): every method."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lewel.model import objective as objectives
from lewel.model.branch import Branch
from lewel.model.target import MomentumTarget, momentum_at
from lewel.shapes import View


class Method(nn.Module):
    """`loss, out = method(view1, view2)`; views are `View`s or plain (b, 3, h, w) tensors.

    A forward in train mode changes nothing but BN's running statistics. The loop calls, once an optimizer step,
        before_step(step, total_steps)   MoCo's moving average, before the keys are made
        after_step(out, ...)             BYOL's moving average; the queue takes the keys (one `out` a micro-batch)
    and skips `after_step` when it rejects the step. `out` holds, detached:
        "loss/TERM" ()   "embeddings" {TERM: (b, n, d)}   "maps" {TERM: (b, m, h, w)}   "pooled" (b, c)
        "keys" {TERM: (b, n, d)}
    of view 1 (keys: of view 2, the target's).

    L of both directions has two parts, which share no activations: `method(view1, view2, part=0)` and `part=1`. Their
    sum, and that of their gradients, is the whole; one at a time they need half of the memory. `parts` says how many
    there are, `joined` makes one `out` of theirs.
    """

    pending: Tensor

    def __init__(
        self,
        online: Branch,
        predictors: nn.ModuleDict,
        objectives: nn.ModuleDict,
        weights: dict[str, float],
        target: MomentumTarget,
        both_directions: bool,
    ):
        super().__init__()
        self.online, self.predictors, self.objectives, self.target = online, predictors, objectives, target
        self.weights, self.both_directions = weights, both_directions
        self.step, self.total_steps = 0, 1
        # whether MoCo's average of the coming step is still to do: not after a rejected step, whose weights it has seen
        self.register_buffer("pending", torch.ones((), dtype=torch.bool))
        self._pending = True
        self._seen: int | None = (
            None  # version of the online weights at a forward that no `after_step` has followed yet
        )
        self.register_load_state_dict_post_hook(lambda module, _: module._read_pending())

    def forward(self, *views: View | Tensor, part: int | None = None) -> tuple[Tensor, dict[str, Any]]:
        if self.training and torch.is_grad_enabled():
            self._expect_after_step()
        pixels = [view.pixels if isinstance(view, View) else view for view in views]
        directions = [(i, j) for i in range(len(pixels)) for j in range(len(pixels)) if i != j]
        if not self.both_directions:
            directions = directions[:1]
        if part is not None:
            directions = [directions[part]]
        seen = sorted({j for _, j in directions})
        online = {i: self.online(pixels[i]) for i in sorted({i for i, _ in directions})}
        target = dict(zip(seen, self.target([pixels[j] for j in seen], self.step), strict=True))

        losses = {name: pixels[0].new_zeros((), dtype=torch.float32) for name in self.weights}
        for i, j in directions:
            for name in losses:
                rows = online[i].embeddings[name]
                predicted = self.predictors[name](rows) if name in self.predictors else rows
                losses[name] = losses[name] + self.objectives[name](predicted, target[j].embeddings[name])
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

        first = online[directions[0][0]]
        height, width = first.features.size
        return total, {
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "embeddings": {name: rows.detach() for name, rows in first.embeddings.items()},
            "maps": {
                name: m.detach().unflatten(2, (height, width)) for name, m in first.maps.items() if m.shape[1] > 1
            },
            "pooled": first.features.tokens.detach().mean(dim=1),
            "keys": {name: rows for name, rows in target[directions[0][1]].embeddings.items()},
        }

    def parts(self, *views: View | Tensor) -> int:
        """Of the loss of these views, that can be computed one after the other without doing anything twice."""
        return 2 if self.both_directions and len(views) == 2 else 1

    @staticmethod
    def joined(outs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The `out` of the whole: the first part's, with the sums of the losses."""
        losses = [name for name in outs[0] if name.startswith("loss/")]
        return outs[0] | {name: torch.stack([out[name] for out in outs]).sum() for name in losses}

    def compile_encoders(self) -> None:
        """By torch.compile, online and target; the rest is small, or different in every method."""
        self.online.compile_encoder()
        self.target.compile_encoder()

    def before_step(self, step: int, total_steps: int) -> None:
        """Move MoCo's target. Called again without `after_step` between (a rejected step), it does so only once."""
        self.step, self.total_steps = step, total_steps
        if self.target.config.update == "before" and self._pending:
            self.target.update(self.online, self._momentum())
        self._set_pending(False)

    def after_step(self, *outs: dict[str, Any]) -> None:
        """Move BYOL's target, then give the queues the keys of every micro-batch."""
        if self.target.config.update == "after":
            self.target.update(self.online, self._momentum())
        for out in outs:
            for name, objective in self.objectives.items():
                if isinstance(objective, objectives.QueueInfoNCE):
                    objective.enqueue(out["keys"][name])
        self._set_pending(True)
        self._seen = None

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """target_distance: |xi - theta| / |theta| over all parameters of the branch."""
        theta: list[Tensor] = list(self.online.parameters())
        xi: list[Tensor] = list(self.target.branch.parameters())
        apart = torch._foreach_norm(torch._foreach_sub(xi, theta))
        size = torch._foreach_norm(theta)
        return {"target_distance": float(torch.stack(apart).norm() / torch.stack(size).norm())}

    def _momentum(self) -> float:
        target = self.target.config
        return momentum_at(self.step, self.total_steps, target.momentum, target.schedule)

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
