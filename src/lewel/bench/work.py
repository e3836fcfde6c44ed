"""What a piece of code asks of the machine: FLOPs, bytes, operations, host synchronisations; and what that must take.

Counted from the operations that PyTorch dispatches, so a compiled function has to be counted before it is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lewel.engine.precision import hardware_bf16

aten: Any = torch.ops.aten
_WAIT = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.is_nonzero, aten.masked_select}
_FREE = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty, aten.new_empty_strided, aten.detach}
_LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
_SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_TO_HOST = {aten._to_copy, aten.copy_}
MEASURED_S = 2.0


@dataclass(frozen=True)
class Machine:
    """What it reaches. flops: FLOP/s of large products and convolutions, by dtype. bandwidth: bytes/s of a copy."""

    flops: dict[str, float]
    bandwidth: float

    def fastest(self, dtype: torch.dtype) -> float:
        """FLOP/s in that format; of one that the hardware does not have, those of the fastest that it has."""
        return self.flops.get(str(dtype), max(self.flops.values()))


@dataclass
class Work:
    """flops: multiply and add are two. bytes: that each operation reads and writes, were there no cache.

    operations: kernels, were none fused. waits: times the host waits for the device.
    seconds: the roofline: the sum over the operations of the longer of computing and moving.
    """

    flops: int = 0
    bytes: int = 0
    operations: int = 0
    waits: int = 0
    seconds: float = 0.0


def count(call: Callable[[], object], machine: Machine) -> Work:
    """Run it once and count."""
    work = Work()
    with _Counting(work, machine):
        call()
    return work


class _Counting(TorchDispatchMode):
    def __init__(self, work: Work, machine: Machine) -> None:
        super().__init__()
        self.work, self.machine = work, machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        on_gpu = any(t.is_cuda for t in tensors)
        if packet in _WAIT or (on_gpu and packet in _TO_HOST and any(t.device.type == "cpu" for t in made)):
            self.work.waits += 1
        if func.is_view or packet in _FREE or not (tensors or made):
            return result
        flops = flop_registry[packet](*args, **kwargs, out_val=result) if packet in flop_registry else 0
        moved = sum(t.numel() * t.element_size() for t in (*tensors, *made))
        fastest = self.machine.fastest(tensors[0].dtype) if tensors else 1.0
        self.work.flops += flops
        self.work.bytes += moved
        self.work.operations += 1
        self.work.seconds += max(flops / fastest, moved / self.machine.bandwidth)
        return result


@torch.no_grad()
def machine(device: torch.device) -> Machine:
    """Measure: the best of some matrix products and 3x3 convolutions in fp32 and bf16, and of copies of 256 MiB.

    Takes MEASURED_S for each of them, however slow the machine is. bf16 is left out where the hardware has none.
    """
    side, images = (8192, 256) if device.type == "cuda" else (2048, 16)
    flops = {}
    for dtype in (torch.float32, torch.bfloat16) if hardware_bf16(device) else (torch.float32,):
        a = torch.randn(side, side, device=device).to(dtype)
        maps = torch.randn(images, 256, 28, 28, device=device).to(dtype, memory_format=torch.channels_last)
        kernel = torch.randn(256, 256, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
        product = 2 * side**3 / _best(lambda a=a: a @ a, device)
        folded = 2 * maps.numel() * 256 * 9 / _best(lambda m=maps, k=kernel: functional.conv2d(m, k, padding=1), device)
        flops[str(dtype)] = max(product, folded)
    source = torch.zeros(2**26, device=device)
    target = torch.empty_like(source)
    return Machine(flops, 2 * source.numel() * 4 / _best(lambda: target.copy_(source), device))


def finish(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _best(call: Callable[[], object], device: torch.device, tries: int = 8) -> float:
    """Seconds of the fastest of some calls: the first, and others while MEASURED_S last."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < tries and sum(seconds) < MEASURED_S):
        finish(device)
        began = time.perf_counter()
        call()
        finish(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def launches(call: Callable[[], object]) -> tuple[int, int]:
    """(kernels started, times the host waited) of a call on a GPU, compiled or not, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call()
    counts = {event.key: event.count for event in seen.key_averages()}
    return sum(counts.get(key, 0) for key in _LAUNCHES), sum(counts.get(key, 0) for key in _SYNCHRONISATIONS)
