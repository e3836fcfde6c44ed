"""Groups of BN statistics are separate batch norms; one group is torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel.errors import UserError
from lewel.model import batchnorm
from lewel.model.batchnorm import GroupBatchNorm, SyncBatchNorm


def original(kind: str = "2d") -> nn.Module:
    torch.manual_seed(0)
    bn = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "act": BatchNormAct2d}[kind](5, eps=1e-3, momentum=0.3).double()
    for tensor in (bn.weight.data, bn.bias.data, bn.running_mean):
        tensor.normal_()
    return bn


def rows(kind: str, seed: int = 1) -> torch.Tensor:
    shape = (6, 5) if kind == "1d" else (6, 5, 3, 2)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def run(bn: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, gradients of x and of the parameters, running statistics."""
    x = x.clone().requires_grad_()
    y = bn(x)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y, x.grad, bn.weight.grad, bn.bias.grad, bn.running_mean, bn.running_var, bn.num_batches_tracked]


@pytest.mark.parametrize("kind", ["1d", "2d", "act"])
@pytest.mark.parametrize("own", [lambda bn: GroupBatchNorm(bn, 1), SyncBatchNorm], ids=["one group", "sync alone"])
def test_one_group_is_torchs_batch_norm(kind: str, own) -> None:
    bn = original(kind)
    mine = own(copy.deepcopy(bn))
    for seed in (1, 2):
        for ours, theirs in zip(run(mine, rows(kind, seed)), run(bn, rows(kind, seed)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        bn.zero_grad()
        mine.zero_grad()
    torch.testing.assert_close(mine.eval()(rows(kind)), bn.eval()(rows(kind)))


@pytest.mark.parametrize("kind", ["1d", "2d", "act"])
@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_separate_batch_norms(kind: str, groups: int) -> None:
    bn, x = original(kind), rows(kind)
    singles = [copy.deepcopy(bn) for _ in range(groups)]
    weight = torch.randn_like(x)
    mine = GroupBatchNorm(bn, groups)
    together, apart = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = mine(together)
    (y * weight).sum().backward()
    expected = torch.cat([single(part) for single, part in zip(singles, apart.chunk(groups), strict=True)])
    (expected * weight).sum().backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(together.grad, apart.grad)
    torch.testing.assert_close(mine.weight.grad, sum(single.weight.grad for single in singles))
    torch.testing.assert_close(mine.bias.grad, sum(single.bias.grad for single in singles))
    torch.testing.assert_close(mine.running_mean, singles[0].running_mean)  # of group 0, as DDP keeps rank 0's
    torch.testing.assert_close(mine.running_var, singles[0].running_var)
    assert mine.num_batches_tracked.item() == 1


def test_groups_that_do_not_divide_the_rows() -> None:
    with pytest.raises(UserError, match=r"6 rows do not split into 4 BN groups.*--batch-size"):
        GroupBatchNorm(original(), 4)(rows("2d"))


def test_convert_keeps_the_state_and_the_parameters() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 1), original(), nn.Sequential(original("act")))
    parameters, state = list(network.parameters()), copy.deepcopy(network.state_dict())
    batchnorm.convert(network, 4)
    norms = [type(part) for part in network.modules() if isinstance(part, _BatchNorm)]
    assert norms == [GroupBatchNorm, GroupBatchNorm]
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    after = network.state_dict()
    assert list(after) == list(state) and all(torch.equal(after[name], state[name]) for name in state)


@pytest.mark.parametrize("groups", [None, 1])
def test_alone_one_group_needs_no_module_of_ours(groups: int | None) -> None:
    network = batchnorm.convert(nn.Sequential(original()), groups)
    assert type(network[0]) is nn.BatchNorm2d


def test_groups_that_the_processes_do_not_divide(monkeypatch) -> None:
    monkeypatch.setattr("lewel.parallel.world", lambda: 2)
    with pytest.raises(UserError, match="--bn-groups 3"):
        batchnorm.convert(nn.Sequential(original()), 3)
    assert type(batchnorm.convert(nn.Sequential(original()), 1)[0]) is SyncBatchNorm
    assert type(batchnorm.convert(nn.Sequential(original()), 2)[0]) is nn.BatchNorm2d
    assert batchnorm.convert(nn.Sequential(original()), 4)[0].groups == 2


def test_sync_gradient_is_the_derivative() -> None:
    bn = SyncBatchNorm(original())
    assert torch.autograd.gradcheck(lambda x: bn(x), rows("2d").requires_grad_())
