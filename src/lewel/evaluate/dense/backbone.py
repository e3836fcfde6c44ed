"""An encoder by its stages, as the dense tasks take it apart: res2 to res5, and the same with less stride.

The modules stay the encoder's own, under its names, so that nothing is copied and nothing is lost.
"""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Float
from timm.models.resnet import ResNet
from torch import Tensor, nn

from lewel.errors import UserError
from lewel.evaluate.dense.tasks import DilatedConvs
from lewel.model.encoder import Encoder

LAYERS = ("layer1", "layer2", "layer3", "layer4")  # timm's names of res2, res3, res4, res5


def resnet(encoder: Encoder) -> ResNet:
    """The encoder's network. Raises UserError where it has no stages that can be told apart."""
    if not isinstance(encoder.backbone, ResNet):
        raise UserError(
            f"--weights: detection and segmentation take ResNets apart, this is {encoder.name}; take weights of one, "
            "or another task, such as landmarks or finetune"
        )
    return encoder.backbone


def levels(
    encoder: Encoder, images: Float[Tensor, "b 3 height width"], last: int = 5
) -> list[Float[Tensor, "b c h w"]]:
    """res2, res3, ... up to res`last`, each from the one before; res5 is the encoder's own output."""
    net = cast(Any, resnet(encoder))
    x, found = net.maxpool(net.act1(net.bn1(net.conv1(images)))), []
    for name in LAYERS[: last - 1]:
        x = getattr(net, name)(x)
        found.append(x)
    return found


def widths(encoder: Encoder) -> tuple[int, ...]:
    """Channels of res2 to res5."""
    return tuple(cast(Any, info)["num_chs"] for info in resnet(encoder).feature_info[1:])


def strides(encoder: Encoder) -> tuple[int, ...]:
    """Pixels between the positions of res2 to res5, before anything is dilated."""
    first = 1 if encoder.stem == "small" else 4
    return tuple(first * 2**number for number in range(len(LAYERS)))


def dilate(encoder: Encoder, stages: int, convs: DilatedConvs = "all") -> None:
    """Undo the stride of the last `stages` stages, 1 or 2, so that their maps have the size of the one before.

    Convolutions are dilated instead, those of a stage's first block that still see the old positions by half
    ("contracted"): at every position that the strided network has, the maps stay what they were.
    convs: "first" leaves the second 3 x 3 convolution of a block, which ResNet-18 and 34 have, as it is: it sees
    neighbours that are nearer than in training then. So mmsegmentation does.
    Raises UserError for ResNets with other parts than plain blocks.
    """
    net, dilation = resnet(encoder), 1
    for name in LAYERS[-stages:]:
        for place, block in enumerate(cast(nn.Sequential, getattr(net, name))):
            seen = dilation if place == 0 else 2 * dilation
            first = True
            for path, part in block.named_modules():
                if isinstance(part, nn.AvgPool2d) or type(part).__name__.startswith("Blur"):
                    raise UserError(
                        f"--weights: {encoder.name} cannot be dilated, as it pools in {name}.{place}.{path}"
                    )
                if not isinstance(part, nn.Conv2d):
                    continue
                if part.kernel_size == (3, 3) and (first or convs == "all"):
                    part.dilation = part.padding = (seen, seen)
                    seen, first = 2 * dilation, False  # what comes after it is at the new positions
                part.stride = (1, 1)
        dilation *= 2
