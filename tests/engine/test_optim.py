"""LARS against its equations written with Python numbers; parameter groups by name."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from lewel.engine.optim import LARS, parameter_groups


def scalar_lars(w, grads, lrs, *, mu, decay, trust, adapt, inside):
    """One tensor as a list of numbers."""
    w, v = list(w), [0.0] * len(w)
    for g, lr in zip(grads, lrs, strict=True):
        wn, gn = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
        local = trust * wn / (gn + decay * wn) if adapt and wn > 0 and gn > 0 else 1.0
        update = [local * (gi + decay * wi) for gi, wi in zip(g, w, strict=True)]
        v = [mu * vi + (lr if inside else 1) * ui for vi, ui in zip(v, update, strict=True)]
        w = [wi - (1 if inside else lr) * vi for wi, vi in zip(w, v, strict=True)]
    return w


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("decay", [0.0, 1.5e-2])
def test_lars_is_its_equation(decay: float, inside: bool) -> None:
    torch.manual_seed(0)
    starts = [torch.randn(3, 2).double(), torch.randn(5).double(), torch.zeros(2).double(), torch.randn(4).double()]
    adapt = [True, False, True, True]  # the third starts with norm 0, the fourth gets a zero gradient at step 1
    lrs = [0.3, 4.0, 0.7]  # changes: a rate on the wrong side of the buffer would show
    grads = [[torch.randn_like(w) for w in starts] for _ in lrs]
    grads[1][3].zero_()
    params = [nn.Parameter(w.clone()) for w in starts]
    groups = [
        {"params": [params[0], params[2], params[3]], "weight_decay": decay},
        {"params": [params[1]], "weight_decay": 0.0, "adapt": False},
    ]
    optimizer = LARS(groups, lr=0.0, momentum=0.9, trust_coefficient=0.02, rate_inside=inside)
    for lr, step in zip(lrs, grads, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for p, g in zip(params, step, strict=True):
            p.grad = g.clone()
        optimizer.step()
    for i, p in enumerate(params):
        expected = scalar_lars(
            starts[i].flatten().tolist(),
            [step[i].flatten().tolist() for step in grads],
            lrs,
            mu=0.9,
            decay=decay if adapt[i] else 0.0,
            trust=0.02,
            adapt=adapt[i],
            inside=inside,
        )
        assert p.flatten().tolist() == pytest.approx(expected, rel=1e-13, abs=1e-14)


def test_lars_leaves_gradients_and_gradientless_parameters_alone() -> None:
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    p.grad = torch.tensor([1.0, 2.0])
    LARS([p, q], lr=1.0, weight_decay=0.1).step()
    assert p.grad.tolist() == [1.0, 2.0] and q.tolist() == [1.0, 1.0]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = timm.create_model("resnet10t", num_classes=0)
        self.head = nn.Sequential(nn.Linear(4, 4, bias=True), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)


@pytest.mark.parametrize("exclude", ["bias_and_bn", "bias_and_backbone_bn", "nothing"])
def test_what_is_excluded(exclude) -> None:
    net = Net()
    names = {id(p): name for name, p in net.named_parameters()}
    groups = parameter_groups(net, exclude, 0.5)
    kept = {names[id(p)] for g in groups if g["adapt"] for p in g["params"]}
    spared = {names[id(p)] for g in groups if not g["adapt"] for p in g["params"]}
    assert {g["weight_decay"] for g in groups if not g["adapt"]} <= {0.0}
    assert {g["weight_decay"] for g in groups if g["adapt"]} == {0.5}
    assert kept | spared == set(names.values()) - {"frozen"} and not kept & spared
    backbone_bn = {n for n, p in net.named_parameters() if n.startswith("encoder") and p.dim() == 1}
    biases = {n for n in names.values() if n.endswith("bias")}
    expected = {
        "bias_and_bn": backbone_bn | biases | {"head.1.weight"},
        "bias_and_backbone_bn": backbone_bn | biases,
        "nothing": set(),
    }
    assert spared == expected[exclude]
