"""Rates, parameter groups and statistics of the dense tasks are what their protocols say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lewel.engine.precision import Precision
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense import fitting
from lewel.evaluate.dense.tasks import Detection, Iterations, Segmentation

CPU = Precision(torch.device("cpu"), "fp32")


def task(name: str, **changes: Any) -> Any:
    return get_protocol(name, Changes(**changes)).task


def test_the_rate_of_voc_detection() -> None:
    """detectron2: linear warm-up from a thousandth over 100 iterations; a tenth at 18,000 and at 22,000."""
    rate = fitting.schedule(task("detect-voc-c4"))
    expected = {0: 2e-5, 50: 0.02 * 0.5005, 100: 0.02, 17_999: 0.02, 18_000: 0.002, 22_000: 0.0002, 23_999: 0.0002}
    assert {step: rate(step) for step in expected} == pytest.approx(expected)


def test_the_rate_of_segmentation() -> None:
    """mmsegmentation: (lr - min_lr) * (1 - i / 20000) ** 0.9 + min_lr."""
    rate = fitting.schedule(task("segment-voc"))
    assert rate(0) == pytest.approx(0.01)
    assert rate(10_000) == pytest.approx((0.01 - 1e-4) * 0.5**0.9 + 1e-4)
    assert rate(20_000) == pytest.approx(1e-4)


def test_iterations_scale_the_schedule_and_the_batch_scales_both() -> None:
    shorter = task("detect-voc-c4", iterations=2400)
    assert isinstance(shorter, Detection)
    assert (shorter.milestones, shorter.warmup, shorter.lr) == ((1800, 2200), 10, 0.02)
    smaller = get_protocol("detect-voc-c4", Changes(batch_size=4))
    assert isinstance(smaller.task, Detection)
    assert (smaller.task.iterations, smaller.task.milestones, smaller.task.lr) == (96_000, (72_000, 88_000), 0.005)
    assert smaller.name == "detect-voc-c4[batch_size=4,iterations=96000,lr=0.005]"
    floor = task("segment-voc", batch_size=8)
    assert isinstance(floor, Segmentation) and floor.lr_last == pytest.approx(5e-5)
    fewer = task("detect-coco-c4", regions=128)
    assert isinstance(fewer, Detection) and (fewer.regions, fewer.proposals) == (128, 250)


@pytest.mark.parametrize(("name", "decayed_norms"), [("detect-voc-c4", False), ("segment-voc", True)])
def test_which_parameters_decay(name: str, decayed_norms: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    found = {
        id(parameter): group["weight_decay"]
        for group in fitting.optimizer(module, task(name)).param_groups
        for parameter in group["params"]
    }
    of_norms = {found[id(each)] for part in list(module)[1:] for each in part.parameters()}
    decay = task(name).weight_decay
    assert {found[id(each)] for each in module[0].parameters()} == {decay} and len(found) == 6
    assert of_norms == {decay if decayed_norms else 0.0}


class Plain(nn.Module):
    """A convolution and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.norm(images).sum(), {}


def test_statistics_are_the_means_over_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 2, 5, 5, generator=generator) * (2 + i) + i for i in range(3)]
    module, state = Plain(), torch.random.get_rng_state()
    module(torch.ones(2, 2, 3, 3))
    fitting.retake_statistics(module, ((batch,) for batch in batches), CPU)
    means = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(dim=1) for batch in batches]).mean(dim=0)
    assert module.norm.running_mean is not None and module.norm.running_var is not None
    torch.testing.assert_close(module.norm.running_mean, means)
    torch.testing.assert_close(module.norm.running_var, variances)
    assert module.norm.momentum == 0.1 and torch.equal(torch.random.get_rng_state(), state)


def test_adam() -> None:
    found = fitting.optimizer(Plain(), task("landmarks"))
    assert isinstance(found, torch.optim.Adam) and isinstance(task("landmarks"), Iterations)
