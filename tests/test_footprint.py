"""The estimate of a step's memory: its count against a real forward pass, and what is refused with which numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lewel import build, footprint, plan, recipes
from lewel.engine import memory
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.model.method import Method
from lewel.plan import Overrides, Plan

CPU = Precision(torch.device("cpu"), "fp32")
LITTLE = Overrides(encoder="test_resnet", image_size=64, batch_size=16, hidden=16, dim=8, bn_groups=1)


def made(name: str, accumulate: int = 1) -> tuple[Method, Plan]:
    chosen = plan.resolve(recipes.get(name), LITTLE, images=1000, accumulate=accumulate)
    return build.method(chosen.recipe).train(), chosen


@pytest.mark.parametrize("name", ["lewel_m_folder", "byol_folder"])
def test_fake_tensors_count_what_a_real_forward_pass_keeps(name: str):
    method, chosen = made(name)
    weights = {tensor.data_ptr() for tensor in (*method.parameters(), *method.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        rows = method.online(torch.randn(chosen.micro_batch, 3, 64, 64)).embeddings
        held = [method.predictors[term](rows[term]) for term in rows if term in method.predictors]
    real = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in weights)
    found = footprint.estimate(method, chosen, CPU)
    assert found.an_image * found.images / footprint.SLOPE["cpu"] == pytest.approx(real, rel=0.02)
    assert len(held) == (name == "byol_folder")


def test_the_estimate_changes_nothing_of_the_network():
    method, chosen = made("lewel_m_random_maps_tiny")  # which draws random numbers in its forward pass
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    random = torch.get_rng_state()
    method.eval()
    footprint.estimate(method, chosen, CPU)
    assert not method.training
    assert torch.equal(torch.get_rng_state(), random)
    after = method.state_dict()
    assert all(
        type(after[name]) is torch.Tensor and torch.equal(after[name], tensor) for name, tensor in before.items()
    )


def test_micro_batches_need_their_share_of_the_images_and_all_of_the_weights():
    one, four = (footprint.estimate(*made("lewel_b_folder", accumulate), CPU) for accumulate in (1, 4))
    assert (one.images, four.images) == (16, 4)
    assert one.fixed == four.fixed
    assert four.peak - four.fixed == pytest.approx((one.peak - one.fixed) / 4, rel=0.02)


def test_a_step_that_does_not_fit_is_refused_with_the_numbers_and_what_to_type(monkeypatch: pytest.MonkeyPatch):
    method, chosen = made("lewel_m_folder")
    needed = footprint.estimate(method, chosen, CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed.fixed + needed.an_image * 16 * 0.8)
    with pytest.raises(UserError) as refusal:
        footprint.check(method, chosen, CPU, force=False)
    line = str(refusal.value)
    assert f"{needed}, and {footprint.gigabytes(needed.fixed + needed.an_image * 16 * 0.8)} are free" in line
    assert "--force starts" in line and "\n" not in line
    assert footprint.check(method, chosen, CPU, force=True) == needed


def test_the_most_micro_batches_that_fit_are_named():
    method, chosen = made("lewel_m_folder")
    found = footprint.Footprint(1e9, 1e9, 16)
    assert "--accumulate 2 or --batch-size 8," in footprint._way_out(found, chosen, CPU, free=11e9)
    assert "--accumulate 8 or --batch-size 2," in footprint._way_out(found, chosen, CPU, free=4e9)
    assert footprint._way_out(found, chosen, CPU, free=2e9).startswith("give a smaller --encoder")
    assert method.training


def test_what_is_small_beside_the_free_memory_is_not_counted(monkeypatch: pytest.MonkeyPatch):
    method, chosen = made("lewel_m_folder")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100e9)
    monkeypatch.setattr(footprint, "estimate", lambda *_: pytest.fail("counted"))
    assert footprint.check(method, chosen, CPU, force=False) is None
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert footprint.check(method, chosen, CPU, force=False) is None


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (("memory.max", "memory.current", "inactive_file 300"), 1000 - 600 + 300),
        (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file 300"), 1000 - 600 + 300),
    ],
    ids=["version 2", "version 1"],
)
def test_a_control_group_leaves_its_limit_less_its_use(tmp_path: Path, files: tuple[str, str, str], left: int):
    limit, used, stat = files
    (tmp_path / used).write_text("600\n")
    (tmp_path / "memory.stat").write_text(f"anon 200\n{stat}\n")
    (tmp_path / limit).write_text("1000\n")
    assert memory._left_in(tmp_path) == left
    (tmp_path / limit).write_text("max\n")
    assert memory._left_in(tmp_path) is None
