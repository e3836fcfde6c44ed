"""F: images to a feature map, by any timm CNN; and to one vector, by any timm network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import timm
import torch
from jaxtyping import Float
from timm.models.resnet import ResNet
from torch import Tensor, nn

from lewel import config
from lewel.errors import UserError, nearest
from lewel.model.modes import evaluating

MAP_NEEDED = "a CNN with a (b, c, h, w) map is needed"


class Encoder(nn.Module):
    """A timm CNN up to its last feature map: no pooling, no classifier.

    The weights live in `backbone`, under timm's own names, which for ResNets are torchvision's too.
    Raises UserError: a name that timm does not know; a network without a feature map; a small stem on another family.
    """

    def __init__(self, name: str = "resnet50", stem: str = "imagenet", zero_init_last: bool = False):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise UserError(f"--stem {stem}: imagenet or small is needed")
        self.name, self.stem = name, stem
        self.backbone = _create(name, zero_init_last)
        if stem == "small":
            _use_small_stem(self.backbone, name)

    @classmethod
    def from_config(cls, encoder: config.Encoder) -> Encoder:
        return cls(encoder.name, encoder.stem, encoder.zero_init_last)

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b c h w"]:
        return cast(Any, self.backbone).forward_features(images)

    @torch.no_grad()
    def map_shape(self, image_size: int) -> tuple[int, int, int]:
        """(c, h, w) of the feature map of square images. Leaves the BN statistics alone.

        Raises UserError: images that the network does not take; features that are no (b, c, h, w) map.
        """
        allowed = "a CNN that takes images of any size is needed, or another --image-size"
        maps = _accepted(lambda: self._probe(image_size), f"--encoder {self.name}", image_size, allowed)
        if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[1] != self.backbone.num_features:
            found = f"of shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else f"as a {type(maps).__name__}"
            raise UserError(f"--encoder {self.name} returns features {found}; {MAP_NEEDED}")
        return maps.shape[1], maps.shape[2], maps.shape[3]

    def freeze_unused(self, image_size: int) -> None:
        """Freeze what the feature map does not depend on, such as timm's head of a MobileNet.

        DDP would wait for its gradients.
        """
        with torch.enable_grad():
            trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(self._probe(image_size).sum(), trained, allow_unused=True)
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)

    def _probe(self, image_size: int) -> Any:
        """The feature map of one black image, in eval mode."""
        return _of_black(self.backbone, cast(Any, self.backbone).forward_features, image_size)


class Pooled(nn.Module):
    """An encoder and global average pooling: images to one vector each. The encoder is shared, not copied."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b c"]:
        return self.encoder(images).mean(dim=(2, 3))


class Headless(nn.Module):
    """A timm network without a map, such as a ViT: images to one vector each, by timm's own pooling and last norm.

    The weights live in `backbone`, under timm's names.
    """

    stem = "imagenet"

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.backbone = timm.create_model(name, num_classes=0)

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b c"]:
        return self.backbone(images)

    @torch.no_grad()
    def width(self, image_size: int) -> int:
        """c, of square images. Raises UserError for a size that the network does not take."""
        allowed = f"it takes {own_size(self.name)}; give that, or leave the flag out"
        return _accepted(lambda: _of_black(self, self, image_size), self.name, image_size, allowed).shape[1]


@cache
def has_map(name: str) -> bool:
    """Whether a timm model has a (b, c, h, w) map, and so is an `Encoder`, not `Headless`. Computes nothing.

    Raises UserError for a name that timm does not know.
    """
    _check_known(name)
    try:
        with torch.device("meta"):
            Encoder(name).map_shape(own_size(name))
    except UserError:
        return False
    return True


def own_size(name: str) -> int:
    """The side of the images for which timm has the model."""
    found = timm.get_pretrained_cfg(name)
    return found.input_size[-1] if found is not None else 224


def _of_black(network: nn.Module, forward: Callable[[Tensor], Any], image_size: int) -> Any:
    """What the network's `forward` makes of one black image, in eval mode."""
    with evaluating(network):
        return forward(next(network.parameters()).new_zeros(1, 3, image_size, image_size))


def _accepted(probe: Callable[[], Any], what: str, image_size: int, allowed: str) -> Any:
    """What `probe` returns. Raises UserError where the network does not take the images."""
    try:
        return probe()
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        raise UserError(f"{what} does not take images of --image-size {image_size} ({reason}); {allowed}") from error


def _check_known(name: str) -> None:
    if not isinstance(name, str):
        raise UserError(f"{name!r} is no name of an encoder; timm.list_models() names them all")
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise UserError(f"--encoder {name} is not a timm model{hint} (timm.list_models() names them all)")


def _create(name: str, zero_init_last: bool) -> nn.Module:
    _check_known(name)
    try:
        try:
            return timm.create_model(name, num_classes=0, global_pool="", zero_init_last=zero_init_last)
        except TypeError:  # a family that does not know it
            return timm.create_model(name, num_classes=0, global_pool="")
    except AssertionError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"--encoder {name} cannot be had without its pooling ({reason}); {MAP_NEEDED}") from error


def _use_small_stem(backbone: nn.Module, name: str) -> None:
    """3x3 convolution with stride 1 and no max-pool, the field's stem for images of 32-64 pixels.

    It replaces the three convolutions of a deep stem (ResNet-D, resnet10t) too.
    """
    if not isinstance(backbone, ResNet) or not isinstance(backbone.bn1, nn.BatchNorm2d):
        raise UserError(f"--stem small is made for ResNets, not {name}; use --stem imagenet")
    stem = nn.Conv2d(3, backbone.bn1.num_features, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    backbone.conv1 = stem
    backbone.maxpool = nn.Identity()
