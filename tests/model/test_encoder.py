"""timm's CNNs as encoders: torchvision's names and features for its ResNets, and errors that say what to do."""

from __future__ import annotations

import pytest
import torch
import torchvision

from lewel.errors import UserError
from lewel.model.encoder import Encoder, has_map


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_resnets_are_torchvisions(name: str) -> None:
    """Same names and shapes, and the same features from the same weights."""
    ours = Encoder(name).eval()
    theirs = torchvision.models.get_model(name, weights=None).eval()
    theirs.fc = torch.nn.Identity()
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.backbone.state_dict().items()} == shapes
    theirs.load_state_dict(ours.backbone.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).mean(dim=(2, 3)), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("zero_init_last", "start"), [(False, 1.0), (True, 0.0)])
def test_the_last_batch_norm_of_a_block_starts_at_one_or_at_zero(zero_init_last: bool, start: float) -> None:
    encoder = Encoder("resnet18", zero_init_last=zero_init_last)
    weights = [p for name, p in encoder.named_parameters() if name.endswith("bn2.weight")]
    assert len(weights) == 8 and all(torch.equal(w, torch.full_like(w, start)) for w in weights)


@pytest.mark.parametrize(
    ("name", "stem", "size", "shape"),
    [
        ("resnet18", "imagenet", 64, (512, 2, 2)),
        ("resnet18", "small", 32, (512, 4, 4)),
        ("resnet50", "small", 32, (2048, 4, 4)),
        ("resnet50", "imagenet", 224, (2048, 7, 7)),
        ("mobilenetv3_small_050", "imagenet", 96, (288, 3, 3)),
        ("convnext_atto", "imagenet", 64, (320, 2, 2)),
    ],
)
def test_map_shape(name: str, stem: str, size: int, shape: tuple[int, int, int]) -> None:
    encoder = Encoder(name, stem).train()
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    assert encoder.map_shape(size) == shape
    assert encoder.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())


def test_small_stem_is_a_3x3_convolution_without_pooling() -> None:
    stem = Encoder("resnet18", "small").backbone
    assert (stem.conv1.kernel_size, stem.conv1.stride, stem.conv1.bias) == ((3, 3), (1, 1), None)
    assert stem.conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert isinstance(stem.maxpool, torch.nn.Identity)


@pytest.mark.parametrize(("name", "shape"), [("test_resnet", (96, 4, 4)), ("resnet10t", (512, 4, 4))])
def test_the_small_stem_replaces_a_deep_one(name: str, shape: tuple[int, int, int]) -> None:
    """Three convolutions and a pooling with a stride of 4 become one of 1: 8 in all, not 32."""
    encoder = Encoder(name, "small")
    assert encoder.map_shape(32) == shape
    assert [n for n, _ in encoder.named_parameters() if ".conv1." in n and ".layer" not in n] == [
        "backbone.conv1.weight"
    ]


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto", "mobilenetv4_conv_small"])
def test_what_the_map_does_not_need_is_frozen(name: str) -> None:
    """timm keeps parts of the classifier's head; a trained parameter without gradient would stop DDP."""
    encoder = Encoder(name).train()
    encoder.freeze_unused(64)
    encoder(torch.randn(2, 3, 64, 64)).square().sum().backward()
    trained = {key for key, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {key for key, p in encoder.named_parameters() if p.grad is not None}
    frozen = {key for key, _ in encoder.named_parameters()} - trained
    assert frozen and all("head" in key for key in frozen)
    assert encoder.training


def test_a_resnet_is_trained_whole() -> None:
    encoder = Encoder("resnet18")
    encoder.freeze_unused(64)
    assert all(p.requires_grad and p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "stem", "size", "line"),
    [
        ("resnet51", "imagenet", 64, r"--encoder resnet51 is not a timm model; did you mean resnet"),
        ("vit_tiny_patch16_224", "imagenet", 224, r"--encoder vit_tiny_patch16_224 returns .* a CNN"),
        ("vit_tiny_patch16_224", "imagenet", 64, r"--encoder vit_tiny_patch16_224 .* --image-size 64 .* a CNN"),
        ("swin_tiny_patch4_window7_224", "imagenet", 224, r"\(1, 7, 7, 768\); a CNN"),
        ("coat_tiny", "imagenet", 224, r"--encoder coat_tiny cannot be had without its pooling .*; a CNN"),
        ("efficientvim_m1", "imagenet", 224, r"--encoder efficientvim_m1 returns features as a list; a CNN"),
        ("inception_v3", "imagenet", 32, r"--encoder inception_v3 .* another --image-size"),
        ("mobilenetv3_small_050", "small", 64, r"--stem small .* use --stem imagenet"),
        ("regnetx_002", "small", 64, r"--stem small .* use --stem imagenet"),
    ],
)
def test_errors_are_one_line(name: str, stem: str, size: int, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        Encoder(name, stem).map_shape(size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", True),
        ("convnext_atto", True),
        ("maxvit_tiny_rw_224", True),  # of one image size
        ("vit_tiny_patch16_224", False),  # (b, tokens, c)
        ("swin_tiny_patch4_window7_224", False),  # (b, h, w, c)
        ("coat_tiny", False),  # cannot be built without its pooling
        ("efficientvim_m1", False),  # several maps
    ],
)
def test_whether_there_is_a_map_is_known_without_computing(name: str, expected: bool) -> None:
    random = torch.get_rng_state()
    assert has_map(name) is expected
    assert torch.equal(random, torch.get_rng_state())
