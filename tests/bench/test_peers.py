"""The contenders of `lewel bench step` start with the same loss and do the same work, or are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lewel import plan, recipes
from lewel.bench import package, peers, step, work
from lewel.bench.package import Setup
from lewel.engine.precision import hardware_bf16
from lewel.errors import UserError

MACHINE = work.Machine({"torch.float32": 1e12, "torch.bfloat16": 2e12}, 1e11)
SMALL = plan.Overrides(encoder="resnet18", image_size=64, batch_size=4, hidden=32, dim=16)


def setup_of(name: str, numbers: plan.Overrides = SMALL) -> Setup:
    recipe = plan.resolve(recipes.get(name), numbers, 100_000).recipe
    return Setup(recipe, "cpu", "bf16", threads=torch.get_num_threads(), steps=1, machine=MACHINE)


@pytest.mark.parametrize(
    "name",
    [
        "lewel_b_in1k_100ep",
        *(pytest.param(f"{each}_in1k_100ep", marks=pytest.mark.slow) for each in ("byol", "moco_v2")),
    ],
)
def test_yardstick_and_package_start_alike(name: str) -> None:
    """Loss to 1e-5 in fp32, and the same FLOPs to 1 %; more is checked of the one-file version in test_examples.py."""
    if not name.startswith("lewel"):
        pytest.importorskip("lightly")
    setup = setup_of(name)
    lines = step.entrants(setup.recipe, setup, switches=False)
    assert [line.name.split(",")[0] for line in lines].count("lewel") == 2
    if not hardware_bf16(torch.device("cpu")):  # which would emulate it, at a GFLOP/s
        lines = [line for line in lines if line.setup.precision == "fp32"]
    found = {line.name: line.make(line.setup).facts for line in lines}
    first = found[lines[0].name]
    peers.check(found["lewel, fp32"], first, "lewel", 1e-5)
    for line in lines:
        peers.check(found[line.name], first, line.name, step.LOSS_TOLERANCE[line.setup.precision])
    assert all(facts["operations"] > 100 and facts["seconds"] > 0 for facts in found.values())


def test_byol_is_given_the_target_of_its_yardstick() -> None:
    pytest.importorskip("lightly")
    recipe = setup_of("byol_in1k_100ep").recipe
    assert recipe.method.target.batchnorm == "running"
    found = peers.yardstick(recipe)
    assert found is not None and found.recipe.method.target.batchnorm == "batch"
    assert replace(found.recipe, method=recipe.method) == recipe


@pytest.mark.parametrize("kind", ["SGD", "LARS"])
@pytest.mark.parametrize("name", ["byol_in1k_100ep", "moco_v2_in1k_100ep"])
def test_lightly_has_the_optimizer_of_the_recipe(name: str, kind: str) -> None:
    pytest.importorskip("lightly")
    recipe = setup_of(name).recipe
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, kind=kind.lower()))
    peer = (peers._LightlyByol if name.startswith("byol") else peers._LightlyMoco)(recipe)
    assert type(peer.optimizer).__name__ == kind
    trained = {id(p) for group in peer.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in peer.network.parameters()} - {id(p) for p in peer.target.parameters()}


def test_other_work_is_refused() -> None:
    one = {"loss": 2.0, "flops": 1000}
    peers.check({"loss": 2.001, "flops": 1009}, one, "two", 1e-3)
    with pytest.raises(UserError, match=r"two does other work: its loss is 2\.1, that of the first 2;"):
        peers.check({"loss": 2.1, "flops": 1000}, one, "two", 1e-3)
    with pytest.raises(UserError, match="its flops is 1020"):
        peers.check({"loss": 2.0, "flops": 1020}, one, "two", 1e-3)


def test_nobody_else_does_lewel_m() -> None:
    setup = setup_of("lewel_m_in1k_100ep", replace(SMALL, queue=64))
    lines = step.entrants(setup.recipe, setup, switches=True)
    assert [line.name for line in lines] == [
        "lewel, fp32",
        "lewel, bf16",
        "lewel, bf16, without kept memory",
        "lewel, bf16, without channels-last",
        "lewel, bf16, compiled",
    ]


@pytest.mark.parametrize(
    "switch",
    [package.SWITCHES[0], *(pytest.param(each, marks=pytest.mark.slow) for each in package.SWITCHES[1:])],
)
def test_a_switch_changes_the_way_and_not_the_work(switch: package.Switch) -> None:
    setup = replace(setup_of("lewel_b_in1k_100ep"), precision="fp32")
    whole, less = package.contender(setup).facts, package.contender(replace(setup, without=(switch,))).facts
    peers.check(less, whole, switch, 1e-4)
    more = less["operations"] - whole["operations"]
    assert {"kept memory": more == 0, "channels-last": True, "folded target": more >= 20}[switch]  # 20 batch norms


def test_the_small_stem_has_no_yardstick() -> None:
    for name in ("lewel_b_in1k_100ep", "byol_in1k_100ep", "moco_v2_in1k_100ep"):
        assert peers.yardstick(setup_of(name, replace(SMALL, stem="small")).recipe) is None
