"""What is exported, and what a format's reader makes of the file: all that the formats share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lewel import config
from lewel.errors import UserError
from lewel.interop import account, weights
from lewel.interop.architectures import RESNETS
from lewel.model.encoder import Encoder, Headless, own_size

Features = dict[str, Tensor]  # "map" (b, c, h, w) where there is one, "pooled" (b, c)


class Given(NamedTuple):
    """An encoder on the CPU, in eval mode, and how it wants its images.

    image_size: the weights' own, else timm's for the architecture.   mean, std: ImageNet's where the weights say none.
    record: what goes beside the tensors: JSON-able, `export` names the format.
    """

    encoder: Encoder | Headless
    image_size: int
    mean: config.ImageStats
    std: config.ImageStats
    record: dict[str, Any]
    account: weights.Account

    @property
    def backbone(self) -> nn.Module:
        return self.encoder.backbone

    def state(self) -> dict[str, Tensor]:
        """The tensors under timm's names, each contiguous and its own."""
        tensors = self.backbone.state_dict().items()
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}

    @torch.no_grad()
    def features(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        found = self.encoder(images)
        return with_mean(found) if isinstance(self.encoder, Encoder) else {"pooled": found}


class Read(NamedTuple):
    """A file as its format's reader has it.

    written: tensors in the file.   missing: of the source's names, not in it.   unexpected: in it, not of the source's
    names.   why: these differ by the format's nature.   any_size: whether the file has to take images of any shape.
    """

    features: Callable[[Tensor], Features]
    written: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    why: str = ""
    any_size: bool = False

    @property
    def matched(self) -> int:
        return self.written - len(self.unexpected)


def open_given(source: str, to: str) -> Given:
    """Any source of `lewel.interop.weights`; untrained weights are drawn with the seed 0. Raises UserError."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder, account, metadata = weights.load(source)
    if not account.loaded:
        account = account._replace(notes=(*account.notes, "untrained, seed 0"))
    return Given(
        encoder.eval(),
        metadata.get("image_size") or own_size(encoder.name),
        _stats(metadata.get("mean", config.IMAGENET_MEAN)),
        _stats(metadata.get("std", config.IMAGENET_STD)),
        weights.described(encoder, {**metadata, "licence": list(account.licence), "export": to}),
        account,
    )


def _stats(numbers: Any) -> config.ImageStats:
    red, green, blue = numbers
    return red, green, blue


class ResNet(NamedTuple):
    """One of torchvision's, as the tools describe it. width: of a group of the first stage's 3x3 convolutions."""

    name: str
    depth: int
    groups: int
    width: int

    @property
    def bottleneck(self) -> bool:
        return self.depth >= 50


def resnet(given: Given, tool: str) -> ResNet:
    """Which of torchvision's ResNets it is. Raises UserError where the tool has no such network."""
    name = weights.untagged(given.encoder.name)
    others = "--to timm, safetensors or onnx takes them"
    if name not in RESNETS:
        raise UserError(f"--to {tool} is for the ResNets {', '.join(RESNETS)}; these are of {name}: {others}")
    if given.encoder.stem != "imagenet":
        raise UserError(f"--to {tool}: these weights are of {name} with the small stem, which it has not; {others}")
    groups, width = (int(number) for number in (re.findall(r"(\d+)x(\d+)d", name) or [(1, 64)])[0])
    depth = int(re.findall(r"\d+", name)[0])
    return ResNet(name, depth, groups, 128 if name.startswith("wide") else width)


def filled(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The reader's network with a file's tensors, in eval mode. Raises UserError unless every name has its place."""
    here = network.state_dict()  # torch itself would fill in a batch norm's counter
    missing, unexpected = [name for name in here if name not in state], [name for name in state if name not in here]
    if missing or unexpected:
        raise UserError(
            f"not exported: {len(missing)} tensors that the reader needs are missing ({account.shown(missing)}), and "
            f"{len(unexpected)} are unexpected ({account.shown(unexpected)}); give weights of another architecture"
        )
    network.load_state_dict(dict(state))
    return network.eval()


def with_mean(features: Float[Tensor, "b c h w"]) -> Features:
    return {"map": features, "pooled": features.mean(dim=(2, 3))}


def pixel_numbers(stats: config.ImageStats) -> list[float]:
    """For images of 0 to 255."""
    return [round(255 * number, 4) for number in stats]


def as_json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
