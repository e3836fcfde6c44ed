"""LARS and SGD, and which parameters they leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel import config

Exclude = Literal["bias_and_bn", "bias_and_backbone_bn", "nothing"]


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al., 2017) as the published BYOL and LEWEL runs use it.

    For each tensor w with gradient g, weight decay a and momentum mu:

        local = trust * |w| / (|g| + a * |w|)        1 in a group with `adapt=False`, and where |w| or |g| is 0
        v = mu * v + lr * local * (g + a * w)        the rate is inside: a change acts on new terms only
        w = w - v

    and as SimSiam's linear evaluation uses it (LARC around SGD), with rate_inside=False:

        v = mu * v + local * (g + a * w)
        w = w - lr * v

    All in multi-tensor operations; nothing waits for the device.

    params: tensors, or groups; a group may set `lr`, `weight_decay`, `momentum`, `trust_coefficient`, `adapt`.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        rate_inside: bool = True,
    ) -> None:
        self.rate_inside = rate_inside
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; the closure's result is returned (Lightning's is a tensor)."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        decay: float = group["weight_decay"]
        updates = torch._foreach_add(gradients, parameters, alpha=decay) if decay else [g.clone() for g in gradients]
        if group["adapt"]:
            torch._foreach_mul_(updates, _local_rates(parameters, gradients, decay, group["trust_coefficient"]))
        torch._foreach_mul_(buffers, group["momentum"])
        inside, outside = (group["lr"], 1.0) if self.rate_inside else (1.0, group["lr"])
        torch._foreach_add_(buffers, updates, alpha=inside)
        torch._foreach_sub_(parameters, buffers, alpha=outside)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def _local_rates(weights: list[Tensor], gradients: list[Tensor], decay: float, trust: float) -> list[Tensor]:
    """trust * |w| / (|g| + decay * |w|) for each tensor, 1 where a norm is zero; 0-d tensors on the device."""
    w = torch.stack(torch._foreach_norm(weights))
    g = torch.stack(torch._foreach_norm(gradients))
    rates = trust * w / (g + decay * w)
    return list(torch.where((w > 0) & (g > 0), rates, 1.0).to(weights[0].dtype).unbind())


def parameter_groups(
    module: nn.Module, exclude: Exclude, weight_decay: float, constant: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The trainable parameters as groups: decayed and LARS-scaled, and neither (`adapt=False`, no decay).

    exclude, what goes to the second group:
        "bias_and_bn"            every bias, and every weight of a normalisation layer: the paper
        "bias_and_backbone_bn"   every bias, and the normalisation weights inside an `encoder`: the published script
        "nothing"                nothing
    constant: beginnings of names; these parameters are groups of their own, whose rate no schedule changes.
    """
    spared = _spared(module, exclude)
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    kept = {name for name in named if name.startswith(tuple(constant))} if constant else set()

    def groups(names: list[str]) -> list[dict[str, Any]]:
        decayed, others = ([named[name] for name in names if (name in spared) is each] for each in (False, True))
        return [
            {"params": decayed, "weight_decay": weight_decay, "adapt": True},
            {"params": others, "weight_decay": 0.0, "adapt": False},
        ]

    scheduled = groups([name for name in named if name not in kept])
    unscheduled = [group | {"constant": True} for group in groups([name for name in named if name in kept])]
    return [group for group in scheduled + unscheduled if group["params"]]


def _spared(module: nn.Module, exclude: Exclude) -> set[str]:
    names = set()
    for path, part in module.named_modules():
        normalises = isinstance(part, (_BatchNorm, nn.LayerNorm, nn.GroupNorm))
        in_encoder = "encoder" in path.split(".")
        for name, _ in part.named_parameters(prefix=path, recurse=False):
            bias = name.split(".")[-1] == "bias"
            if bias or (normalises and (in_encoder or exclude == "bias_and_bn")):
                names.add(name)
    return set() if exclude == "nothing" else names


def make_optimizer(module: nn.Module, spec: config.Optimizer) -> torch.optim.Optimizer:
    """The optimizer of a recipe over the module's trainable parameters."""
    groups = parameter_groups(module, spec.exclude, spec.weight_decay, spec.constant)
    if spec.kind == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    return LARS(groups, lr=spec.lr, momentum=spec.momentum, trust_coefficient=spec.trust_coefficient)
