"""What makes the views: Pillow in the workers; tensors, on the device, for what follows the crop; or for all of it."""

from __future__ import annotations

import os
import shutil
from typing import Literal, NamedTuple

import torch


class Executor(NamedTuple):
    """name: "resident" is tensors too, of images that lie on the device (`lewel.data.resident`).

    compiled: the tensor operations by torch.compile, with the same result.
    """

    name: Literal["pillow", "tensor", "resident"]
    compiled: bool = False


PILLOW = Executor("pillow")


def choose(name: Literal["pillow", "tensor", "resident"], device: torch.device) -> Executor:
    """Tensor operations are compiled where there is a compiler."""
    return PILLOW if name == "pillow" else Executor(name, can_compile(device))


def can_compile(device: torch.device) -> bool:
    """Inductor needs a C++ compiler, for kernels on a CPU and for what starts those on a GPU."""
    return device.type in ("cpu", "cuda") and shutil.which(os.environ.get("CXX", "g++")) is not None
