"""Recognise an encoder by the names and shapes of its tensors, and say what timm's model of a name would hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from math import isqrt
from typing import Literal, NamedTuple

import timm
import torch
from timm.models import get_pretrained_cfg_value
from torch import Tensor

from lewel import config
from lewel.model.encoder import Encoder, Headless, has_map

Shape = tuple[int, ...]


class _Layout(NamedTuple):
    """Of a ResNet. blocks: of its four stages.  first: shape of layer1.0.conv2.weight, (channels, of a group)."""

    bottleneck: bool
    blocks: tuple[int, ...]
    first: tuple[int, ...]


class _Plan(NamedTuple):
    """Of a ConvNeXt. depths: blocks of its four stages.  width: channels of the first."""

    depths: tuple[int, ...]
    width: int


_RESNETS = {
    _Layout(False, (2, 2, 2, 2), (64, 64)): "resnet18",
    _Layout(False, (3, 4, 6, 3), (64, 64)): "resnet34",
    _Layout(True, (3, 4, 6, 3), (64, 64)): "resnet50",
    _Layout(True, (3, 4, 23, 3), (64, 64)): "resnet101",
    _Layout(True, (3, 8, 36, 3), (64, 64)): "resnet152",
    _Layout(True, (3, 4, 6, 3), (128, 128)): "wide_resnet50_2",
    _Layout(True, (3, 4, 23, 3), (128, 128)): "wide_resnet101_2",
    _Layout(True, (3, 4, 6, 3), (128, 4)): "resnext50_32x4d",
    _Layout(True, (3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
}
RESNETS = tuple(_RESNETS.values())
_VIT_WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
_CONVNEXTS = {
    _Plan((2, 2, 6, 2), 40): "convnext_atto",
    _Plan((2, 2, 6, 2), 48): "convnext_femto",
    _Plan((2, 2, 6, 2), 64): "convnext_pico",
    _Plan((2, 2, 8, 2), 80): "convnext_nano",
    _Plan((3, 3, 9, 3), 96): "convnext_tiny",
    _Plan((3, 3, 27, 3), 96): "convnext_small",
    _Plan((3, 3, 27, 3), 128): "convnext_base",
    _Plan((3, 3, 27, 3), 192): "convnext_large",
}
# a tensor that every network of a family has
_RESNET, _VIT, _CONVNEXT = "layer1.0.conv1.weight", "patch_embed.proj.weight", "stages.0.blocks.0.conv_dw.weight"
ANCHORS = (_RESNET, _VIT, _CONVNEXT)
FAMILIES = "ResNets and ResNeXts of torchvision, ViTs and ConvNeXts of timm"


class Recognised(NamedTuple):
    """encoder: None where no table has it; then `nearest` is the name of the nearest and how it differs."""

    encoder: config.Encoder | None
    nearest: str = ""


def recognise(state: Mapping[str, Tensor]) -> Recognised:
    """The architecture of tensors that are named as timm names them, and that hold one of `ANCHORS`."""
    if _RESNET in state:
        return _resnet(state)
    return _vit(state) if _VIT in state else _convnext(state)


def stem_of(state: Mapping[str, Tensor]) -> Literal["imagenet", "small"]:
    """ "small" where the first convolution of a ResNet is 3x3, else "imagenet"."""
    first = state.get("conv1.weight")
    return "small" if first is not None and first.shape[2:] == (3, 3) and _RESNET in state else "imagenet"


@cache
def shapes(encoder: config.Encoder) -> dict[str, Shape]:
    """Names and shapes of the tensors in the encoder's backbone. Computes nothing."""
    with torch.device("meta"):
        network = Encoder.from_config(encoder) if has_map(encoder.name) else Headless(encoder.name)
    return {name: tuple(tensor.shape) for name, tensor in network.backbone.state_dict().items()}


def classifier(name: str) -> tuple[str, ...]:
    """Prefixes of the tensors of a timm model's classifier, which timm names; none where it has none."""
    found = get_pretrained_cfg_value(name, "classifier") or ()
    return tuple(f"{each}." for each in ([found] if isinstance(found, str) else found))


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the pattern's group takes in the names."""
    return len({found[1] for name in state if (found := re.match(pattern, name))})


def _resnet(state: Mapping[str, Tensor]) -> Recognised:
    blocks = tuple(_count(state, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5))
    second = state.get("layer1.0.conv2.weight")
    here = _Layout("layer1.0.conv3.weight" in state, blocks, () if second is None else tuple(second.shape[:2]))
    if here in _RESNETS and "conv1.weight" in state:
        return Recognised(config.Encoder(_RESNETS[here], stem_of(state)))

    def distance(layout: _Layout) -> tuple[bool, int, bool]:
        apart = sum(abs(a - b) for a, b in zip(layout.blocks, blocks, strict=True))
        return layout.bottleneck != here.bottleneck, apart, layout.first != here.first

    near = min(_RESNETS, key=distance)
    ours, theirs = (" + ".join(map(str, each.blocks)) for each in (here, near))
    differs = f"{theirs} blocks, where the file has {ours}" if ours != theirs else "other widths or another stem"
    return Recognised(None, f"{_RESNETS[near]} ({differs})")


def _vit(state: Mapping[str, Tensor]) -> Recognised:
    width, _, patch, _ = state[_VIT].shape if state[_VIT].ndim == 4 else (0, 0, 0, 0)
    positions = state.get("pos_embed")
    tokens = int(positions.shape[1]) if positions is not None and positions.ndim == 3 else 0
    side = patch * max(isqrt(max(tokens - extra, 0)) for extra in (0, 1))
    size = _VIT_WIDTHS.get(width, "")
    scaled = "blocks.0.ls1.gamma" in state
    if scaled:
        name = f"vit_{size}_patch{patch}_{'reg4_' if 'reg_token' in state else ''}dinov2"
    else:
        name = f"vit_{size}_patch{patch}_{side}"
    if timm.is_model(name):
        return Recognised(config.Encoder(name))
    nearest = f"vit_{size or 'base'}_patch{patch if patch in (8, 14, 16, 32) else 16}_224"
    return Recognised(None, f"{nearest} (the file has width {width}, patches of {patch} px and {tokens} positions)")


def _convnext(state: Mapping[str, Tensor]) -> Recognised:
    depths = tuple(_count(state, rf"stages\.{stage}\.blocks\.(\d+)\.") for stage in range(4))
    here = _Plan(depths, int(state[_CONVNEXT].shape[0]))
    if here in _CONVNEXTS:
        return Recognised(config.Encoder(_CONVNEXTS[here]))
    apart = {
        plan: (sum(abs(a - b) for a, b in zip(plan.depths, depths, strict=True)), abs(plan.width - here.width))
        for plan in _CONVNEXTS
    }
    near = _CONVNEXTS[min(apart, key=lambda plan: apart[plan])]
    blocks = " + ".join(map(str, depths))
    return Recognised(None, f"{near} (the file has {blocks} blocks and width {here.width})")
