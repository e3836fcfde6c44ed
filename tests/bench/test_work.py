"""What is counted is what the arithmetic says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lewel.bench import work
from lewel.engine.precision import hardware_bf16

MACHINE = work.Machine({"torch.float32": 1e12, "torch.bfloat16": 2e12}, 1e11)


def test_a_matrix_product() -> None:
    a, b = torch.randn(30, 40), torch.randn(40, 50)
    counted = work.count(lambda: a @ b, MACHINE)
    moved = 4 * (30 * 40 + 40 * 50 + 30 * 50)
    assert (counted.flops, counted.bytes, counted.operations) == (2 * 30 * 40 * 50, moved, 1)
    assert counted.seconds == pytest.approx(max(counted.flops / 1e12, moved / 1e11))


def test_half_the_bytes_and_twice_the_speed_in_bf16() -> None:
    a = torch.randn(256, 256)
    full, half = (work.count(lambda x=x: x @ x, MACHINE) for x in (a, a.bfloat16()))
    assert (half.flops, half.bytes, half.seconds) == (full.flops, full.bytes / 2, full.seconds / 2)


def test_forward_and_backward_of_a_convolution() -> None:
    """The backward takes twice the forward's FLOPs, less the images' gradient."""
    convolution, images = nn.Conv2d(3, 8, 3, bias=False), torch.randn(2, 3, 10, 10)
    forward = 2 * 2 * 8 * 8 * 8 * 27
    assert work.count(lambda: convolution(images), MACHINE).flops == forward
    assert work.count(lambda: convolution(images).sum().backward(), MACHINE).flops == 2 * forward


def test_views_and_empty_memory_are_free() -> None:
    a = torch.randn(4, 6)
    assert work.count(lambda: a.t().reshape(6, 4)[1:].detach(), MACHINE) == work.Work()


def test_reading_a_number_is_a_wait() -> None:
    a = torch.randn(4)
    assert work.count(lambda: a.sum(), MACHINE).waits == 0
    assert work.count(lambda: float(a.sum()), MACHINE).waits == 1


def test_this_machine_computes_and_copies() -> None:
    found = work.machine(torch.device("cpu"))
    assert ("torch.bfloat16" in found.flops) is hardware_bf16(torch.device("cpu"))
    assert "torch.float32" in found.flops and min(found.flops.values()) > 0 and found.bandwidth > 0


def test_a_slow_machine_is_measured_by_one_call_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = iter(range(0, 10_000, 100)), []
    monkeypatch.setattr(work.time, "perf_counter", lambda: float(next(clock)))
    assert work._best(lambda: calls.append(1), torch.device("cpu")) == 100.0 and len(calls) == 1
    clock = iter(x / 1000 for x in range(10_000))
    assert work._best(lambda: calls.append(1), torch.device("cpu")) == pytest.approx(0.001) and len(calls) == 9


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_gpu_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    for backend in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, backend), "synchronize", lambda *_, backend=backend: waited.append(backend))
    work.finish(torch.device("cpu"))
    work.finish(torch.device(name))
    assert waited == [name]
