"""A branch for inference: each batch norm folded into the layer before it, the weights cast once.

    BN(W x) = (W * s) x + (beta - mean * s),   s = gamma / sqrt(var + eps)

The folding is exact algebra, done in fp32 or better. Which layer feeds which BN is found by running the network once,
so that any timm CNN works; a BN whose input no layer made alone stays as it is.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel.model.maps import at_least_fp32

_Linear = nn.Conv1d | nn.Conv2d | nn.Linear


class Pair(NamedTuple):
    layer: str
    norm: str


@torch.no_grad()
def pairs(network: nn.Module, probe: Tensor) -> list[Pair]:
    """Names of (layer, batch norm) with the layer's output going to that batch norm and nowhere else that we can see.

    `network(probe)` is run once in eval mode, which changes nothing.
    """
    makers: dict[int, str] = {}
    found: list[Pair] = []
    keep: list[Tensor] = []  # alive until the end, so that no id is used twice

    def after(name: str):
        def hook(module, inputs, output):
            makers[id(output)] = name
            keep.append(output)

        return hook

    def before(name: str):
        def hook(module, inputs):
            if id(inputs[0]) in makers:
                found.append(Pair(makers[id(inputs[0])], name))

        return hook

    handles = []
    for name, module in network.named_modules():
        if isinstance(module, _Linear):
            handles.append(module.register_forward_hook(after(name)))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(before(name)))
    was_training = network.training
    network.eval()(probe)
    network.train(was_training)
    for handle in handles:
        handle.remove()
    unique = dict.fromkeys(found)  # a shared head runs twice
    layers = [pair.layer for pair in unique]
    return [pair for pair in unique if layers.count(pair.layer) == 1]


class Folded:
    """The inference twin of `network`. `refresh` copies the present weights; the twin is in no state dict.

    dtype: of the twin's weights; None keeps the network's.
    """

    def __init__(self, network: nn.Module, pairs: list[Pair], dtype: torch.dtype | None):
        self.network, self.pairs = network, pairs
        self.twin = copy.deepcopy(network).eval().requires_grad_(False)
        for layer_name, norm_name in pairs:
            layer, norm = self.twin.get_submodule(layer_name), self.twin.get_submodule(norm_name)
            assert isinstance(layer, _Linear)
            if layer.bias is None:
                layer.bias = nn.Parameter(layer.weight.new_zeros(layer.weight.shape[0]), requires_grad=False)
            parent, _, child = norm_name.rpartition(".")
            setattr(self.twin.get_submodule(parent), child, getattr(norm, "act", nn.Identity()))
        if dtype is not None:  # what is left of batch norm stays in fp32
            for module in self.twin.modules():
                if isinstance(module, _Linear):
                    module.to(dtype)
        self._others = self._unfolded()
        self.refresh()

    def _unfolded(self) -> list[tuple[Tensor, Tensor]]:
        """(twin's tensor, network's tensor) for all that folding leaves alone."""
        folded = {f"{pair.layer}.{name}" for pair in self.pairs for name in ("weight", "bias")}
        source = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        twin = {**dict(self.twin.named_parameters()), **dict(self.twin.named_buffers())}
        return [(tensor, source[name]) for name, tensor in twin.items() if name not in folded]

    @torch.no_grad()
    def refresh(self) -> None:
        for layer_name, norm_name in self.pairs:
            layer, twin = self.network.get_submodule(layer_name), self.twin.get_submodule(layer_name)
            norm = self.network.get_submodule(norm_name)
            assert isinstance(layer, _Linear) and isinstance(twin, _Linear) and isinstance(norm, _BatchNorm)
            assert norm.running_var is not None and norm.running_mean is not None and twin.bias is not None
            scale = (at_least_fp32(norm.running_var) + norm.eps).rsqrt()
            scale = scale if norm.weight is None else at_least_fp32(norm.weight) * scale
            weight = at_least_fp32(layer.weight)
            twin.weight.copy_(weight * scale.view(-1, *[1] * (weight.ndim - 1)))
            bias = 0 if layer.bias is None else at_least_fp32(layer.bias)
            folded = (bias - norm.running_mean) * scale
            twin.bias.copy_(folded if norm.bias is None else norm.bias + folded)
        if self._others:
            torch._foreach_copy_([twin for twin, _ in self._others], [source for _, source in self._others])
