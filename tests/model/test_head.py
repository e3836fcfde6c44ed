"""A head is a 1x1 convolution over rows, with the batch norm's statistics over all b * n of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lewel.model.head import MLP


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_a_1x1_convolution_over_positions(norm: bool, bias: bool) -> None:
    torch.manual_seed(0)
    head = MLP(6, (10,), 4, norm=norm, bias="all" if bias else "none").double().train()
    middle = [nn.BatchNorm1d(10)] if norm else []
    layers = nn.Sequential(nn.Conv1d(6, 10, 1, bias=bias), *middle, nn.ReLU(), nn.Conv1d(10, 4, 1, bias=bias)).double()
    layers[0].weight.data = head.hidden.weight.data[:, :, None]
    layers[-1].weight.data = head.out.weight.data[:, :, None]
    if bias:
        layers[0].bias.data.copy_(head.hidden.bias.data.normal_())
        layers[-1].bias.data.copy_(head.out.bias.data.normal_())
    rows = torch.randn(3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(head(rows), layers(rows.transpose(1, 2)).transpose(1, 2))
    if norm:
        torch.testing.assert_close(head.norm.running_var, layers[1].running_var)


def test_parameters() -> None:
    assert [name for name, _ in MLP(6, (10,), 4).named_parameters()] == [
        "hidden.weight",
        "norm.weight",
        "norm.bias",
        "out.weight",
    ]
    plain = MLP(6, (10,), 4, norm=False, bias="all")
    assert sorted(dict(plain.named_parameters())) == ["hidden.bias", "hidden.weight", "out.bias", "out.weight"]


@pytest.mark.parametrize(
    ("init", "hidden", "out"),
    [
        ("kaiming", math.sqrt(2 / 512), math.sqrt(2 / 256)),  # sqrt(2 / fan_out)
        ("normal", 0.01, 0.01),
        ("linear", 1 / math.sqrt(3 * 384), 1 / math.sqrt(3 * 512)),  # uniform(-1/sqrt(fan_in), 1/sqrt(fan_in))
    ],
)
def test_initial_spread(init: str, hidden: float, out: float) -> None:
    torch.manual_seed(0)
    head = MLP(384, (512,), 256, init=init)
    assert head.hidden.weight.std().item() == pytest.approx(hidden, rel=0.02)
    assert head.out.weight.std().item() == pytest.approx(out, rel=0.02)


def test_biases_start_at_zero() -> None:
    head = MLP(6, (10,), 4, bias="all")
    assert not head.hidden.bias.any() and not head.out.bias.any()
