"""The encoder of the claims: a ResNet with one block a stage, 4 x 4 positions for images of 64 px, or of 32 px."""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

WIDTHS = (32, 64, 128, 192)


@register_model
def claims_resnet(pretrained: bool = False, **options: Any) -> ResNet:
    """For 64 px: a stem of three 3x3 convolutions, max-pool, output stride 16 (the last stage is dilated)."""
    kept = {name: value for name, value in options.items() if name in ("num_classes", "global_pool", "zero_init_last")}
    return ResNet(BasicBlock, (1, 1, 1, 1), channels=WIDTHS, stem_type="deep", stem_width=16, output_stride=16, **kept)


@register_model
def claims_resnet_32(pretrained: bool = False, **options: Any) -> ResNet:
    """For 32 px: the same without max-pool."""
    network = claims_resnet(pretrained, **options)
    network.maxpool = nn.Identity()
    return network
