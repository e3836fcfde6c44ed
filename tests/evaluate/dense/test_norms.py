"""Norms for small batches keep what the encoder knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel.evaluate.dense import norms
from lewel.model.encoder import Encoder

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["resnet10t", "resnet18", "efficientnet_b0"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(request.param)
    for part in made.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return made


def test_frozen_is_the_encoder_in_eval_mode(encoder: Encoder) -> None:
    with torch.no_grad():
        expected = encoder.eval()(IMAGES)
        norms.convert(encoder, "frozen")
        torch.testing.assert_close(encoder.eval()(IMAGES), expected)
    assert not any(isinstance(part, _BatchNorm) for part in encoder.modules())


def test_frozen_is_not_trained() -> None:
    encoder = Encoder("resnet18")
    before = sum(parameter.numel() for parameter in encoder.parameters())
    of_norms = sum(p.numel() for m in encoder.modules() if isinstance(m, _BatchNorm) for p in m.parameters())
    norms.convert(encoder, "frozen")
    assert sum(parameter.numel() for parameter in encoder.parameters()) == before - of_norms


def test_group_norm_takes_the_weights_and_needs_no_batch(encoder: Encoder) -> None:
    names = {name: tensor for name, tensor in encoder.named_parameters() if "bn1" in name}
    norms.convert(encoder, "group")
    again = dict(encoder.named_parameters())
    assert all(torch.equal(again[name], tensor) for name, tensor in names.items() if name in again)
    encoder.backbone.eval()  # no dropout
    with torch.no_grad():
        torch.testing.assert_close(encoder(IMAGES)[:1], encoder(IMAGES[:1]), rtol=1e-4, atol=1e-4)


def test_batch_norm_stays() -> None:
    encoder = Encoder("resnet18")
    kept = [part for part in encoder.modules() if isinstance(part, _BatchNorm)]
    norms.convert(encoder, "batch")
    assert [part for part in encoder.modules() if isinstance(part, _BatchNorm)] == kept
    assert isinstance(norms.new_norm("batch")(64), nn.BatchNorm2d)


def test_groups_divide_the_channels() -> None:
    for kind in ("frozen", "group"):
        for channels in (8, 48, 64, 100):
            made = norms.new_norm(kind)(channels)
            assert isinstance(made, nn.GroupNorm) and channels % made.num_groups == 0
