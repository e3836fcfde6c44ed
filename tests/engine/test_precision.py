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


def test_an_exact_evaluation_in_fp32_has_no_tf32() -> None:
    assert torch.backends.cudnn.allow_tf32  # torch's default, which pretraining keeps
    with precision.Precision(CPU, "fp32").exact():
        assert not torch.backends.cudnn.allow_tf32
    with precision.Precision(CPU, "bf16").exact():
        assert torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), precision.Precision(CPU, "fp32").exact():
        raise KeyError
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA GPU")
def test_convolutions_of_an_exact_evaluation_are_in_fp32() -> None:
    """TF32 has 10 bits of mantissa: its error is a thousandth, not a millionth."""
    torch.manual_seed(0)
    images, weight = torch.randn(8, 64, 32, 32, dtype=torch.double), torch.randn(64, 64, 3, 3, dtype=torch.double)
    true = torch.nn.functional.conv2d(images, weight)
    with precision.Precision(torch.device("cuda"), "fp32").exact():
        found = torch.nn.functional.conv2d(images.float().cuda(), weight.float().cuda()).cpu().double()
    assert (found - true).norm() / true.norm() < 1e-5
