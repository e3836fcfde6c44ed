"""Dilated networks keep every value that they had, at the positions that they had."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from lewel.errors import UserError
from lewel.evaluate.dense import backbone
from lewel.model.encoder import Encoder


def network(name: str, stem: str = "imagenet") -> Encoder:
    """In eval mode and float64, with batch norms that do something."""
    torch.manual_seed(0)
    encoder = Encoder(name, stem).double().eval()
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.0)
    return encoder


def images(height: int = 97, width: int = 128) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def both(name: str, stages: int, shown: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """res2 to res5 before and after."""
    encoder = network(name)
    dilated = deepcopy(encoder)
    backbone.dilate(dilated, stages)
    return backbone.levels(encoder, shown), backbone.levels(dilated, shown)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize(("stages", "step"), [(1, 2), (2, 4)])
def test_what_was_there_is_still_there(name: str, stages: int, step: int) -> None:
    """The borders too, of images of any size: what a dilated convolution sees beyond them is 0 in both."""
    before, after = both(name, stages, images())
    assert after[3].shape[2:] == before[3 - stages].shape[2:]
    for level, at in ((3, step), (2, step // 2)):
        shared, wanted = after[level][..., ::at, ::at], before[level]
        torch.testing.assert_close(shared, wanted, rtol=0, atol=1e-10 * float(wanted.max()))
    assert torch.equal(after[0], before[0])


def test_half_the_dilation_first() -> None:
    """mmsegmentation's "contract_dilation": dilations (1, 1, 2, 4), and in the first block half."""
    encoder = Encoder("resnet50")
    backbone.dilate(encoder, 2)
    net = backbone.resnet(encoder)
    found = {name: [block.conv2.dilation[0] for block in getattr(net, name)] for name in backbone.LAYERS}
    assert found == {"layer1": [1] * 3, "layer2": [1] * 4, "layer3": [1] + [2] * 5, "layer4": [2, 4, 4]}
    assert [name for name, part in net.named_modules() if getattr(part, "stride", 1) == (2, 2)] == [
        "conv1",
        "layer2.0.conv2",
        "layer2.0.downsample.0",
    ]


def test_the_first_convolution_of_each_block_alone() -> None:
    """As mmsegmentation dilates ResNet-18; blocks with one such convolution are the same by either rule."""
    encoder = Encoder("resnet18")
    backbone.dilate(encoder, 2, "first")
    net = backbone.resnet(encoder)
    for conv, expected in (("conv1", [[1, 2], [2, 4]]), ("conv2", [[1, 1], [1, 1]])):
        convs = [[getattr(block, conv) for block in getattr(net, name)] for name in ("layer3", "layer4")]
        assert [[each.dilation[0] for each in row] for row in convs] == expected
        assert all(each.padding == each.dilation and each.stride == (1, 1) for row in convs for each in row)
    shown = images().float()
    assert [level.shape[2:] for level in backbone.levels(encoder, shown)[1:]] == [(13, 16)] * 3
    for name, same in (("resnet18", False), ("resnet50", True)):
        first, every = (network(name) for _ in range(2))
        backbone.dilate(first, 2, "first")
        backbone.dilate(every, 2)
        assert torch.equal(first(images()), every(images())) == same


def test_levels_end_with_the_encoders_own_output() -> None:
    encoder, shown = network("resnet18"), images()
    found = backbone.levels(encoder, shown)
    assert torch.equal(found[-1], encoder(shown)) and len(backbone.levels(encoder, shown, last=4)) == 3


@pytest.mark.parametrize(
    ("name", "stem", "widths", "strides"),
    [
        ("resnet18", "imagenet", (64, 128, 256, 512), (4, 8, 16, 32)),
        ("resnet50", "imagenet", (256, 512, 1024, 2048), (4, 8, 16, 32)),
        ("resnet18", "small", (64, 128, 256, 512), (1, 2, 4, 8)),
    ],
)
def test_widths_and_strides(name: str, stem: str, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
    encoder = Encoder(name, stem)
    found = backbone.levels(encoder, torch.zeros(1, 3, 64, 64))
    assert backbone.widths(encoder) == tuple(level.shape[1] for level in found) == widths
    assert backbone.strides(encoder) == tuple(64 // level.shape[2] for level in found) == strides


def test_what_cannot_be_taken_apart() -> None:
    with pytest.raises(UserError, match=r"detection and segmentation take ResNets apart, this is mobilenetv3"):
        backbone.levels(Encoder("mobilenetv3_small_050"), torch.zeros(1, 3, 64, 64))
    with pytest.raises(UserError, match=r"resnet26d cannot be dilated, as it pools in layer3\.0\.downsample"):
        backbone.dilate(Encoder("resnet26d"), 2)
    with pytest.raises(UserError, match=r"resnetblur18 cannot be dilated, as it pools in layer4\.0"):
        backbone.dilate(Encoder("resnetblur18"), 1)
