"""Which device and format is taken, and what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch

from lewel.engine import precision
from lewel.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("environment", "used"),
    [
        ({}, True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, False),
        ({"ATEN_CPU_CAPABILITY": "default"}, False),
        ({"ATEN_CPU_CAPABILITY": "avx512"}, True),
    ],
)
def test_bf16_instructions_can_be_switched_off(environment: dict[str, str], used: bool) -> None:
    assert precision.cpu_bf16(environment, instructions=True) is used
    assert not precision.cpu_bf16(environment, instructions=False)


def test_auto_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision, "hardware_bf16", lambda on, fast=fast: fast)
        assert precision.choose("auto", CPU).name == name


def test_slow_bf16_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "hardware_bf16", lambda on: False)
    with pytest.warns(UserWarning, match="--precision fp32"):
        assert precision.choose("bf16", CPU).name == "bf16"
    monkeypatch.setattr(precision, "hardware_bf16", lambda on: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        precision.choose("bf16", CPU)


def test_fp16_needs_cuda() -> None:
    with pytest.raises(UserError, match="--precision fp16 needs a CUDA GPU"):
        precision.choose("fp16", CPU)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(UserError, match=f"--device {name}.*--device cpu"):
            precision.device(name)
    assert precision.device("auto") == CPU


def test_autocast_is_what_it_says() -> None:
    a = torch.ones(2, 2)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with precision.Precision(CPU, name).autocast():
            assert (a @ a).dtype == dtype
