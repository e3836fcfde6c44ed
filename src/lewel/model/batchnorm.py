"""Over which images batch norm takes its statistics, in one process or many.

    groups  processes
    None    any        one group a process, timm's own modules: as published
    1       1          the same
    1       w > 1      SyncBatchNorm: one group over all processes; torch's refuses the CPU
    k * w   w          GroupBatchNorm: each process splits its images into k groups

So a run on one process with n groups sees the statistics that n processes would see, and either can be tested against
the other. Running statistics follow group 0 of rank 0, which is what DDP's runs keep too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from lewel import parallel
from lewel.errors import UserError


class _OwnBatchNorm(_BatchNorm):
    """Takes over the parameters, buffers and activation (timm's BatchNormAct2d) of the module that it replaces."""

    weight: nn.Parameter  # either is None in a norm without it
    bias: nn.Parameter

    def __init__(self, original: _BatchNorm):
        super().__init__(original.num_features, original.eps, original.momentum, affine=original.affine)
        assert original.track_running_stats and original.momentum is not None
        self.weight, self.bias = original.weight, original.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(self, name, getattr(original, name))
        self.drop = getattr(original, "drop", nn.Identity())
        self.act = getattr(original, "act", nn.Identity())

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs (b, c, ...), got {tuple(input.shape)}")

    def normalise(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            x = self.normalise(input)
        else:
            x = functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return self.act(self.drop(x))


class GroupBatchNorm(_OwnBatchNorm):
    """Batch norm over `groups` equal, consecutive parts of the batch, each with statistics of its own."""

    def __init__(self, original: _BatchNorm, groups: int):
        super().__init__(original)
        self.groups = groups

    def normalise(self, x: Tensor) -> Tensor:
        if len(x) % self.groups:
            raise UserError(
                f"{len(x)} rows do not split into {self.groups} BN groups; change --batch-size or --bn-groups"
            )
        parts = [self._part(part, first=i == 0) for i, part in enumerate(x.chunk(self.groups))]
        return torch.cat(parts)

    def _part(self, x: Tensor, first: bool) -> Tensor:
        mean, var = (self.running_mean, self.running_var) if first else (None, None)
        return functional.batch_norm(x, mean, var, self.weight, self.bias, True, self.momentum or 0.0, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, groups={self.groups}"


class SyncBatchNorm(_OwnBatchNorm):
    """Batch norm with the statistics of the images of all processes; on the CPU as on a GPU."""

    def normalise(self, x: Tensor) -> Tensor:
        y, mean, var, count = _SyncNorm.apply(x, self.weight, self.bias, self.eps)  # pyright: ignore[reportGeneralTypeIssues]
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum or 0.0)
            self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), self.momentum or 0.0)
        return y


class _SyncNorm(torch.autograd.Function):
    """The batch norm of all processes' rows; its backward sums the gradients' statistics over the processes too.

    With y = weight * xhat + bias, xhat = (x - mean) * invstd, N rows in all:
        dx = weight * invstd * (dy - sum(dy) / N - xhat * sum(dy * xhat) / N)
    """

    @staticmethod
    def forward(ctx, x, weight, bias, eps):  # type: ignore[override]
        axes = [0, *range(2, x.ndim)]
        wide = x if x.dtype == torch.float64 else x.float()
        local = torch.stack([wide.mean(axes), wide.var(axes, correction=0)])
        means, variances = parallel.all_gather(local[None]).unbind(dim=1)  # ranks x c; every rank has as many rows
        mean = means.mean(dim=0)
        var = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        invstd = (var + eps).rsqrt()
        shape = [1, -1] + [1] * (x.ndim - 2)
        y = (wide - mean.view(shape)) * _times(invstd, weight).view(shape)
        y = y if bias is None else y + bias.view(shape)
        count = x.numel() // x.shape[1] * parallel.world()
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.count, ctx.bias_type = count, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var)
        return y.to(x.dtype), mean, var, count

    @staticmethod
    def backward(ctx, dy, *_):  # type: ignore[override]
        x, weight, mean, invstd = ctx.saved_tensors
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide_dy = dy.to(mean.dtype)
        xhat = (x.to(mean.dtype) - mean.view(shape)) * invstd.view(shape)
        sums = torch.stack([wide_dy.sum(axes), (wide_dy * xhat).sum(axes)])
        dbias, dweight = sums[0].clone(), sums[1].clone()
        mean_dy, mean_dy_xhat = parallel.all_reduce_(sums).div_(ctx.count).unbind()
        dx = wide_dy - mean_dy.view(shape) - xhat * mean_dy_xhat.view(shape)
        dx = dx * _times(invstd, weight).view(shape)
        dweight = None if weight is None else dweight.to(weight.dtype)
        dbias = None if ctx.bias_type is None else dbias.to(ctx.bias_type)
        return dx.to(x.dtype), dweight, dbias, None


def _times(invstd: Tensor, weight: Tensor | None) -> Tensor:
    return invstd if weight is None else invstd * weight


def convert(module: nn.Module, groups: int | None) -> nn.Module:
    """Replace every batch norm in `module` as the table above says; parameters and buffers are kept.

    Raises UserError: groups that the number of processes does not divide.
    """
    world = parallel.world()
    if groups is None or groups == world:
        return module
    if groups != 1 and groups % world:
        raise UserError(f"--bn-groups {groups}: allowed are 1 (SyncBN) and multiples of the {world} processes")
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SyncBatchNorm(child) if groups == 1 else GroupBatchNorm(child, groups // world))
        else:
            convert(child, groups)
    return module


class Statistics(NamedTuple):
    """What batch norm remembers: running means and variances, and the numbers of batches seen."""

    averages: list[Tensor]
    counts: list[Tensor]


def statistics(module: nn.Module) -> Statistics:
    """The buffers of all batch norms in the module, in order."""
    found = Statistics([], [])
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            for name, buffer in part.named_buffers(recurse=False):
                (found.counts if name == "num_batches_tracked" else found.averages).append(buffer)
    return found
