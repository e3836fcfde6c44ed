"""What makes the views: Pillow in the workers, or tensors, on the device, for what follows the crop."""

from __future__ import annotations

import os
import shutil
from typing import Literal, NamedTuple

import torch


class Executor(NamedTuple):
    """name: "pillow", or "tensor". compiled: the tensor operations by torch.compile, with the same result."""

    name: Literal["pillow", "tensor"]
    compiled: bool = False


PILLOW = Executor("pillow")


def choose(name: Literal["pillow", "tensor"], device: torch.device) -> Executor:
    """Tensor operations are compiled where there is a compiler."""
    return PILLOW if name == "pillow" else Executor("tensor", can_compile(device))


def can_compile(device: torch.device) -> bool:
    """Inductor needs a C++ compiler, for kernels on a CPU and for what starts those on a GPU."""
    return device.type in ("cpu", "cuda") and shutil.which(os.environ.get("CXX", "g++")) is not None
