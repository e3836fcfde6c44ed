"""How much memory a training step needs, before the first one: an estimate, held against what is free.

    peak = base + weights + slope * saved

base     Python, torch and the data path (CPU only; a GPU's figure counts tensors)
weights  parameters, gradients and the optimizer's momentum in fp32, target and buffers; LARS scales a copy of the
         gradients, and a target of running statistics (EMAN) has a copy with batch norm folded
saved    bytes that autograd keeps for the backward pass of one process's micro-batch; of a part of the loss at a time,
         where the method has parts. Counted on fake tensors, which have shapes and no memory.
slope    what the step holds beside: views, the target's pass, gradients of activations, the allocator's gaps
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from lewel import parallel
from lewel.engine import memory
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.model.method import Method
from lewel.plan import Plan

# docs/performance.md, "Memory before the first step": fitted to measured peaks
BASE = 0.75e9
SLOPE = {"cpu": 1.6, "cuda": 1.17, "mps": 1.17}
SMALL = (
    20_000  # bytes for each pixel of the micro-batch: no CNN of timm's needs so many, so below that nothing is counted
)


@dataclass(frozen=True)
class Footprint:
    """Bytes of one process's step: `fixed` whatever the batch, `an_image` for each of `images` in its micro-batch."""

    fixed: float
    an_image: float
    images: int

    @property
    def peak(self) -> float:
        return self.fixed + self.an_image * self.images

    def __str__(self) -> str:
        return (
            f"about {gigabytes(self.peak)}: {gigabytes(self.fixed)} + "
            f"{self.images} images x {self.an_image / 1e6:.0f} MB"
        )


def estimate(method: Method, plan: Plan, precision: Precision) -> Footprint:
    """What one process's step needs. The method is on its device; nothing is computed."""
    device, size = precision.device.type, plan.recipe.data.image_size
    on_cpu = device == "cpu"
    an_image = SLOPE.get(device, SLOPE["cuda"]) * _saved(method, plan.micro_batch, size, precision) / plan.micro_batch
    trained = sum(parameter.nbytes for parameter in method.parameters() if parameter.requires_grad)
    copies = 3 if plan.recipe.optimizer.kind == "lars" else 2
    folded = method.target if method.target.folds else nn.ModuleList()
    weights = _bytes(method) + copies * trained + _bytes(folded)
    return Footprint((BASE if on_cpu else 0) + weights, an_image, plan.micro_batch)


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def check(method: nn.Module, plan: Plan, precision: Precision, force: bool) -> Footprint | None:
    """The estimate, or None where it cannot be made or cannot matter.

    Little memory by any network, free memory that nobody tells, or a method that is no sum of terms.

    Raises UserError, unless `force`, where the step needs more than is free.
    """
    free = memory.free_bytes(precision.device)
    side = plan.recipe.data.image_size
    processes = 1 if precision.device.type == "cuda" else parallel.processes_here()
    if free is None or not isinstance(method, Method) or plan.micro_batch * side**2 * SMALL * processes < free / 2:
        return None
    found = estimate(method, plan, precision)
    if found.peak * processes > free and not force:
        each = f" in each of {processes} processes" if processes > 1 else ""
        raise UserError(
            f"a step needs {found}{each}, and {gigabytes(free)} are free on {precision.device}; "
            f"{_way_out(found, plan, precision, free / processes)}; --force starts all the same"
        )
    return found


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _way_out(found: Footprint, plan: Plan, precision: Precision, free: float) -> str:
    """What to type: the most micro-batches that fit, else less per image."""
    room = 0.9 * free - found.fixed
    for accumulate in range(plan.accumulate + 1, plan.accumulate * plan.micro_batch // 2 + 1):
        images = plan.micro_batch * plan.accumulate // accumulate
        if images * accumulate == plan.micro_batch * plan.accumulate and images * found.an_image < room:
            batch = images * plan.world * plan.accumulate
            return f"give --accumulate {accumulate} or --batch-size {batch}, or a smaller --encoder or --image-size"
    return "give a smaller --encoder or --image-size" + (" or --precision bf16" if precision.name == "fp32" else "")


def _saved(method: Method, images: int, image_size: int, precision: Precision) -> int:
    """Bytes that autograd keeps for the backward pass of one view's online branch and predictors.

    The views of a one-directional method share nothing either: only view 1 has a backward pass.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    was_training = method.training
    buffers = [(buffer, buffer.clone()) for buffer in method.buffers()]  # batch norm counts its batches for real
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    device = next(method.parameters()).device
    try:
        method.train()
        with mode, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), precision.autocast():
            embeddings = method.online(torch.empty(images, 3, image_size, image_size, device=device)).embeddings
            for name, rows in embeddings.items():
                if name in method.predictors:
                    method.predictors[name](rows)
    finally:
        method.train(was_training)
        for buffer, before in buffers:
            buffer.copy_(before)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
