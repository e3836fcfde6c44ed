"""The momentum network: its schedule at published numbers, EMAN, ShuffleBN."""

from __future__ import annotations

import copy

import pytest
import torch

from lewel import build, terms
from lewel.model import batchnorm
from lewel.model.target import momentum_at

BATCH = terms.Momentum(0.9, "cosine", "after", "batch")


@pytest.mark.parametrize(
    ("epoch", "published", "digits"),
    [
        (1, 0.980005, 6),
        (2, 0.980020, 6),
        (5, 0.980123, 6),
        (10, 0.980489, 6),
        (20, 0.98191, 5),
        (30, 0.98412, 5),
        (40, 0.98691, 5),
        (50, 0.99000, 5),
        (60, 0.99309, 5),
        (75, 0.99707, 5),
        (90, 0.99951, 5),
        (95, 0.99988, 5),
        (100, 0.99999999999685, 14),
    ],
)
def test_cosine_momentum_of_the_published_log(epoch: int, published: float, digits: int) -> None:
    """The last step of each epoch; 100 epochs of 1251 steps from m = 0.98."""
    m = momentum_at(epoch * 1251 - 1, 100 * 1251, 0.98, "cosine")
    assert abs(m - published) < 0.6 * 10**-digits


def test_momentum_at_the_ends() -> None:
    assert momentum_at(0, 1000, 0.98, "cosine") == 0.98
    assert momentum_at(1000, 1000, 0.98, "cosine") == 1.0
    assert {momentum_at(step, 1000, 0.999, "constant") for step in (0, 500, 999)} == {0.999}


def perturbed(method: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for tensor in (*method.online.parameters(), *batchnorm.statistics(method.online).averages):
            tensor += 0.1 * torch.randn_like(tensor)
    return method


@pytest.mark.parametrize("kind", ["running", "batch"])
def test_update_is_the_moving_average(recipes, kind: str) -> None:
    """EMAN averages the running statistics too; otherwise they are the target's own."""
    method = perturbed(build.method(recipes.lewel_b(recipes.EMAN if kind == "running" else BATCH)).double())
    online, before = method.online.state_dict(), copy.deepcopy(method.target.branch.state_dict())
    for count in batchnorm.statistics(method.online).counts:
        count.fill_(5)
    method.target.update(method.online, 0.7)
    for name, tensor in method.target.branch.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor.item() == (5 if kind == "running" else 0)
        elif "running" in name and kind == "batch":
            assert torch.equal(tensor, before[name])
        else:
            torch.testing.assert_close(tensor, 0.7 * before[name] + 0.3 * online[name], rtol=1e-12, atol=1e-14)


def test_eman_target_is_never_in_train_mode(recipes) -> None:
    method = build.method(recipes.lewel_b()).train()
    assert method.training and method.target.training
    assert not any(module.training for module in method.target.branch.modules())
    method.eval().train()
    assert not any(module.training for module in method.target.branch.modules())
    assert not any(p.requires_grad for p in method.target.parameters())


def test_batch_target_follows_the_mode(recipes) -> None:
    method = build.method(recipes.lewel_b(BATCH)).train()
    assert method.target.branch.training and not method.eval().target.branch.training


def test_eman_passes_equal_the_target_branch_after_every_move(recipes) -> None:
    """The folded twin is what the target's own modules compute, before and after updates and a loaded state."""
    method = perturbed(build.method(recipes.lewel_b()).double().train())
    views = [torch.randn(2, 3, 64, 64, dtype=torch.float64) for _ in range(2)]
    fresh = perturbed(copy.deepcopy(method))

    def check() -> None:
        for view, found in zip(views, method.target(views, 0), strict=True):
            expected = method.target.branch(view)
            for name, rows in expected.embeddings.items():
                torch.testing.assert_close(found.embeddings[name], rows, rtol=1e-9, atol=1e-11)
                torch.testing.assert_close(found.maps[name], expected.maps[name], rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(found.features.tokens, expected.features.tokens, rtol=1e-9, atol=1e-11)

    check()
    method.target.update(method.online, 0.5)
    check()
    method.load_state_dict(fresh.state_dict())
    check()
    method.float().double()
    check()


def test_the_folded_twin_is_in_no_state_dict(recipes) -> None:
    method = build.method(recipes.lewel_b())
    before = list(method.state_dict())
    method(*torch.randn(2, 2, 3, 64, 64))
    assert list(method.state_dict()) == before


def test_unshuffle_of_shuffle_is_the_identity(recipes) -> None:
    """With frozen statistics no image feels its neighbours, so every key must come back to its place, bit for bit."""
    method = build.method(recipes.lewel_m()).double().eval()
    view = torch.randn(6, 3, 64, 64, dtype=torch.float64)
    expected = method.target.branch(view)
    for step in range(5):
        (found,) = method.target([view], step)
        for name, rows in expected.embeddings.items():
            torch.testing.assert_close(found.embeddings[name], rows, rtol=1e-12, atol=1e-14)


def test_shuffle_is_another_at_each_step_and_the_same_for_a_step(recipes) -> None:
    method = build.method(recipes.lewel_m()).eval()
    seen = []
    encoder = method.target.branch.encoder
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0, 0, 0].tolist()))
    view = torch.arange(16.0)[:, None, None, None].expand(16, 3, 64, 64).contiguous()
    for step in (0, 1, 2, 0):
        method.target([view], step)
    assert all(sorted(order) == list(range(16)) for order in seen)
    assert seen[0] == seen[3] and len({tuple(order) for order in seen}) == 3


def test_shuffle_matters_only_with_groups(recipes) -> None:
    """One group: the statistics are the batch's in any order. Two: each key has other neighbours than its query."""
    view = torch.randn(6, 3, 64, 64, dtype=torch.float64)
    for groups, equal in ((None, True), (2, False)):
        method = build.method(recipes.lewel_m(bn_groups=groups)).double().train()
        (found,) = method.target([view], 0)
        expected = method.target.branch(view)
        assert torch.allclose(found.embeddings["global"], expected.embeddings["global"], rtol=1e-9) is equal
