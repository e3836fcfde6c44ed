"""Normalisation layers of an encoder and of what is put on it: for batches that are large enough, and for others."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from lewel.evaluate.dense.tasks import Norm

GROUPS = 32  # of group norm (Wu and He, 2018), or the most that divide the channels


def new_norm(norm: Norm) -> Callable[[int], nn.Module]:
    """Makes the norm of a new layer: from its channels."""
    return nn.BatchNorm2d if norm == "batch" else _group_norm


def convert(module: nn.Module, norm: Norm) -> None:
    """Put the norm in the place of every batch norm inside the module, with the same weights.

    "frozen": the running statistics too, and none of it is trained.
    """
    if norm == "batch":
        return
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            parts = _others(child, norm)
            setattr(module, name, nn.Sequential(*parts) if len(parts) > 1 else parts[0])
        else:
            convert(child, norm)


def _others(norm: _BatchNorm, kind: Norm) -> list[nn.Module]:
    if kind == "frozen":
        new: nn.Module = FrozenBatchNorm2d(norm.num_features, norm.eps)
        new.load_state_dict({name: tensor for name, tensor in norm.state_dict().items() if "num_batches" not in name})
    else:
        new = _group_norm(norm.num_features)
        with torch.no_grad():
            new.weight.copy_(norm.weight)
            new.bias.copy_(norm.bias)
    return [new, *_tail(norm)]


def _tail(norm: _BatchNorm) -> list[nn.Module]:
    """The activation that timm's own batch norms have inside."""
    return [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(GROUPS, channels), channels)
