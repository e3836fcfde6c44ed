"""Which device and which floating-point format a run uses."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from lewel.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]

# What the two libraries below torch call the instruction sets that include bf16 arithmetic.
_ONEDNN_WITH_BF16 = ("ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10")


@dataclass(frozen=True)
class Precision:
    """A device and the format of the matrix products on it; weights stay in float32 always."""

    device: torch.device
    name: Literal["fp32", "bf16", "fp16"]

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name != "fp32")

    @contextmanager
    def exact(self) -> Iterator[None]:
        """In fp32 no convolution on CUDA is in TF32, torch's default; for the numbers of an evaluation.

        Pretraining keeps the default: TF32 costs it no accuracy that is known, and without it is several times slower.
        """
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = before and self.name != "fp32"
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before

    def scaler(self) -> torch.amp.GradScaler:
        """The loss scaler of fp16; for the other formats one that does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def device(name: DeviceName, local_rank: int = 0) -> torch.device:
    """The device to train on; "auto" takes a CUDA GPU, else Apple's, else the CPU.

    Raises UserError when the GPU asked for is not there.
    """
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if local_rank >= count:
            raise UserError(f"--device {name}: GPU {local_rank} is not there, {count} found; use --device cpu")
        return torch.device("cuda", local_rank)
    if name == "mps" or (name == "auto" and torch.backends.mps.is_available()):
        if not torch.backends.mps.is_available():
            raise UserError("--device mps: this machine has no Apple GPU that torch can use; use --device cpu")
        return torch.device("mps")
    return torch.device("cpu")


def choose(name: PrecisionName, on: torch.device) -> Precision:
    """The format for a device: "auto" is bf16 where the hardware computes in it, else fp32.

    Warns when bf16 is asked of a CPU that only emulates it, ten times slower than fp32. Raises UserError for fp16
    where there is no loss scaler for it (anything but CUDA).
    """
    fast = hardware_bf16(on)
    if name == "auto":
        return Precision(on, "bf16" if fast else "fp32")
    if name == "fp16" and on.type != "cuda":
        raise UserError(f"--precision fp16 needs a CUDA GPU, this is {on.type}; use --precision auto, fp32 or bf16")
    if name == "bf16" and not fast:
        warnings.warn(
            f"--precision bf16: this {on.type} device has no bf16 instructions (or they are switched off), so it "
            "will be several times slower than --precision fp32",
            stacklevel=2,
        )
    return Precision(on, name)


def hardware_bf16(on: torch.device) -> bool:
    """Whether the device has bf16 instructions, and torch will use them."""
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return on.type == "cpu" and cpu_bf16(os.environ, torch.cpu._is_avx512_bf16_supported() or _arm_bf16())


def cpu_bf16(environment: Mapping[str, str], instructions: bool) -> bool:
    """bf16 on this CPU: the instructions are there and neither oneDNN nor ATen is told to do without them."""
    onednn = environment.get("ONEDNN_MAX_CPU_ISA", environment.get("DNNL_MAX_CPU_ISA", "ALL")).upper()
    aten = environment.get("ATEN_CPU_CAPABILITY", "").lower()
    return instructions and onednn.startswith(_ONEDNN_WITH_BF16) and aten not in ("default", "avx2")


def _arm_bf16() -> bool:
    """ARM names the flag in /proc/cpuinfo; torch has no call for it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return any(line.startswith("Features") and " bf16" in line for line in file)
    except OSError:
        return False
