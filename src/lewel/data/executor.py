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


def choose(name: Literal["auto", "pillow", "tensor"], device: torch.device) -> Executor:
    """auto: tensors on a GPU; on a CPU Pillow, because compiling takes a minute and needs a compiler."""
    if name == "pillow" or (name == "auto" and device.type != "cuda"):
        return PILLOW
    return Executor("tensor", _can_compile(device))


def _can_compile(device: torch.device) -> bool:
    """Inductor needs a C++ compiler, for kernels on a CPU and for what starts those on a GPU."""
    return device.type in ("cpu", "cuda") and shutil.which(os.environ.get("CXX", "g++")) is not None
