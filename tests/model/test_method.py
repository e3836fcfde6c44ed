"""The step's contract: what a forward may change, what a rejected step may move, what a state dict holds."""

from __future__ import annotations

import copy
import shutil
import warnings
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from lewel import build, terms
from lewel.shapes import View

METHODS = ["moco", "lewel_m", "byol", "lewel_b"]
SYNC = terms.Momentum(0.9, "cosine", "after", "batch")


def views(seed: int = 0, b: int = 4) -> torch.Tensor:
    return torch.randn(2, b, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def step(method: nn.Module, optimizer: torch.optim.Optimizer, number: int, seed: int) -> float:
    method.before_step(number, 10)
    loss, out = method(*views(seed))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    method.after_step(out)
    return loss.item()


def sgd(method: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_forward_changes_only_running_statistics(recipes, name: str) -> None:
    method = build.method(getattr(recipes, name)()).train()
    before, random = snapshot(method), torch.get_rng_state()
    loss, _ = method(*views())
    loss.backward()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert {key for key in changed(method, before) if not key.endswith(statistics)} == set()
    eman = method.target.batchnorm == "running"
    assert any(key.startswith("target.") for key in changed(method, before)) is not eman
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", METHODS)
def test_training_without_after_step_is_warned_of(recipes, name: str) -> None:
    method = build.method(getattr(recipes, name)()).train()
    optimizer = sgd(method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(2):
            step(method, optimizer, number, seed=number)
    method(*views(3))[0].backward()
    method(*views(4))  # the second micro-batch of a step: nothing has moved
    optimizer.step()
    with pytest.warns(UserWarning, match=r"method.after_step\(out\) was not called.*before_step\(step, total_steps\)"):
        method(*views(5))


@pytest.mark.parametrize("name", METHODS)
def test_forward_in_eval_mode_changes_nothing(recipes, name: str) -> None:
    method = build.method(getattr(recipes, name)()).eval()
    before = snapshot(method)
    method(*views())
    assert changed(method, before) == set()


@pytest.mark.parametrize("name", METHODS)
def test_out(recipes, name: str) -> None:
    method = build.method(getattr(recipes, name)()).train()
    loss, out = method(*(View(pixels) for pixels in views()))
    names = set(method.weights)
    assert set(out) == {f"loss/{term}" for term in names} | {"embeddings", "maps", "pooled", "compared"}
    total = sum(method.weights[term] * out[f"loss/{term}"] for term in names)
    torch.testing.assert_close(total, loss.detach())
    assert out["embeddings"]["global"].shape == (4, 1, 8) and out["pooled"].shape == (4, 96)
    assert set(out["maps"]) == names - {"global"}
    if "aligned" in names:
        assert out["embeddings"]["aligned"].shape == (4, 4, 8) and out["maps"]["aligned"].shape == (4, 8, 2, 2)
    compared = [tensor for sides in out["compared"].values() for each in sides for tensor in each[:2]]
    tensors = [*out["embeddings"].values(), *out["maps"].values(), *compared, out["pooled"]]
    assert not any(tensor.requires_grad for tensor in tensors)


def test_both_directions_are_the_sum_of_two(recipes) -> None:
    method = build.method(recipes.lewel_b()).double().eval()
    first, second = views().double()
    both = method(first, second)[0]
    method.directions = terms.ONE_WAY
    torch.testing.assert_close(both, method(first, second)[0] + method(second, first)[0])


def test_every_trained_parameter_gets_a_gradient(recipes) -> None:
    for name in METHODS:
        method = build.method(getattr(recipes, name)()).train()
        method(*views())[0].backward()
        without = [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]
        assert without == [], name
        assert all(p.grad is None for p in method.target.parameters())


@pytest.mark.parametrize("update", ["before", "after"])
def test_the_target_moves_when_its_method_says(recipes, update: str) -> None:
    method = build.method(recipes.moco() if update == "before" else recipes.byol()).train()
    optimizer = sgd(method)
    step(method, optimizer, 0, 0)
    moved = set()
    before = snapshot(method.target)
    method.before_step(1, 10)
    if changed(method.target, before):
        moved.add("before")
    loss, out = method(*views(1))
    loss.backward()
    optimizer.step()
    before = snapshot(method.target)
    method.after_step(out)
    if changed(method.target, before):
        moved.add("after")
    assert moved == {update}


def test_a_rejected_step_moves_the_target_once(recipes) -> None:
    """MoCo: before_step, forward, rejected; the next before_step sees the same weights and must leave them."""
    method = build.method(recipes.moco()).train()
    optimizer = sgd(method)
    step(method, optimizer, 0, 0)
    theta = [p.detach().clone() for p in method.online.parameters()]
    xi = [p.clone() for p in method.target.branch.parameters()]
    expected = [torch.lerp(a, b, 1 - 0.9) for a, b in zip(xi, theta, strict=True)]
    queue = method.objectives["global"].queue.clone()
    for _ in range(3):
        method.before_step(1, 10)
        method(*views(1))
        for mine, once in zip(method.target.branch.parameters(), expected, strict=True):
            assert torch.equal(mine, once)
    assert torch.equal(method.objectives["global"].queue, queue)


def test_a_checkpoint_between_reject_and_retry_remembers(recipes) -> None:
    method = build.method(recipes.moco()).train()
    step(method, sgd(method), 0, 0)
    method.before_step(1, 10)
    state = copy.deepcopy(method.state_dict())
    assert not state["pending"]
    resumed = build.method(recipes.moco()).train()
    resumed.load_state_dict(state)
    before = snapshot(resumed)
    resumed.before_step(1, 10)
    assert changed(resumed, before) == set()


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_holds_all(recipes, name: str) -> None:
    """Two steps, saved, loaded into another, two more: equal to four, queue, pointer and pending included."""
    spec = getattr(recipes, name)()
    torch.manual_seed(1)
    first = build.method(spec).train()
    optimizer = sgd(first)
    for number in range(2):
        step(first, optimizer, number, number)
    second = build.method(spec).train()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    other = sgd(second)
    for number in range(2, 4):
        assert step(first, optimizer, number, number) == step(second, other, number, number)
    assert changed(second, snapshot(first)) == set()
    if name in ("moco", "lewel_m"):
        assert first.objectives["global"].queue_ptr.item() == 16 and first.pending.item()


def test_the_queue_takes_the_keys_of_every_micro_batch_in_order(recipes) -> None:
    method = build.method(recipes.moco()).train()
    method.before_step(0, 10)
    outs = [method(*views(seed))[1] for seed in (0, 1)]
    method.after_step(*outs)
    keys = torch.cat([out["compared"]["global"][0].target[:, 0] for out in outs])
    torch.testing.assert_close(method.objectives["global"].queue[:, :8].T, nn.functional.normalize(keys, dim=1))
    assert method.objectives["global"].queue_ptr.item() == 8


def test_target_distance(recipes) -> None:
    method = build.method(recipes.byol())
    assert method.diagnostics() == {"target_distance": 0.0}
    with torch.no_grad():
        for parameter in method.target.branch.parameters():
            parameter.mul_(1.25)
    assert method.diagnostics()["target_distance"] == pytest.approx(0.25, rel=1e-4)


def test_at_the_start_the_loss_is_about_four(recipes) -> None:
    """LEWEL_B's log begins at 3.974: unrelated unit vectors, 2 a direction, for any weights that sum to 1."""
    torch.manual_seed(0)
    wide = terms.MLP(256, (256,))
    spec = recipes.lewel_b()
    parts = tuple(terms.Term(t.name, t.weight, t.maps, wide, wide, t.objective) for t in spec.method.terms)
    loss, _ = build.method(recipes.recipe(parts, SYNC, terms.BOTH_WAYS)).train()(*views())
    assert loss.item() == pytest.approx(4, abs=0.4)


@pytest.mark.parametrize("name", ["lewel_b", "byol"])
def test_the_parts_of_both_directions_are_the_whole(recipes, name: str) -> None:
    """Loss, gradients, running statistics and `out`, in float64."""
    torch.manual_seed(0)
    whole = build.method(getattr(recipes, name)()).double().train()
    split = copy.deepcopy(whole)
    both = views().double().unbind()
    loss, out = whole(*both)
    loss.backward()
    assert split.parts(*both) == 2
    found = []
    for part in range(2):
        found.append(split(*both, part=part))
        found[-1][0].backward()
    torch.testing.assert_close(found[0][0] + found[1][0], loss, rtol=1e-12, atol=0)
    joined = split.joined([each for _, each in found])
    assert joined.keys() == out.keys()
    torch.testing.assert_close(joined, out, rtol=1e-9, atol=1e-12)
    for (label, one), two in zip(whole.named_parameters(), split.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), label
        if one.grad is not None and two.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-9, atol=1e-12, msg=label)
    for one, two in zip(whole.buffers(), split.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["lewel_b", "moco"])  # the folded target, and one in train mode
def test_compiled_encoders_take_the_same_step(recipes, name: str) -> None:
    torch.manual_seed(0)
    eager = build.method(getattr(recipes, name)()).train()
    compiled = copy.deepcopy(eager)
    compiled.compile_encoders()
    calls: list[int] = []
    compiled.online.encoder.register_forward_hook(lambda *_: calls.append(1))
    for number in range(2):
        losses = [step(method, sgd(method), number, seed=number) for method in (eager, compiled)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert not calls, "the module's own call is for evaluations, whose sizes differ"
    assert list(compiled.state_dict()) == list(eager.state_dict())


def test_one_direction_is_one_part(recipes) -> None:
    assert build.method(recipes.lewel_m()).parts(*views()) == 1


def twin(recipes, target: terms.Target, **changes) -> nn.Module:
    """BYOL's term with another target, in float64."""
    torch.manual_seed(0)
    spec = recipes.byol()
    return build.terms(replace(spec, method=replace(spec.method, target=target, **changes))).double()


def test_views_in_one_batch_share_statistics(recipes) -> None:
    """In eval mode nothing differs; in train mode batch norm counts one batch of both views."""
    apart, together = (twin(recipes, terms.Detached(), batched=batched) for batched in (False, True))
    both = views().double()
    torch.testing.assert_close(together.eval()(*both)[0], apart.eval()(*both)[0])
    for method, batches in ((apart, 2), (together, 1)):
        loss, _ = method.train()(*both)
        counts = {int(b) for name, b in method.online.named_buffers() if name.endswith("num_batches_tracked")}
        assert (counts, method.parts(*both)) == ({batches}, 1) and loss.isfinite()


def test_the_gradient_of_both_sides_is_the_sum_of_each(recipes) -> None:
    """d/d theta of f(theta, theta): detaching one side and then, by exchanging the views, the other."""
    both = views().double()
    terms_of = recipes.byol().method.terms
    plain = (replace(terms_of[0], predictor=None),)

    def gradient(target: terms.Target, directions: tuple[terms.Direction, ...]) -> torch.Tensor:
        method = twin(recipes, target, terms=plain, directions=directions).eval()
        method(*both)[0].backward()
        return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])

    whole = gradient(terms.Online(), terms.ONE_WAY)
    torch.testing.assert_close(whole, gradient(terms.Detached(), terms.BOTH_WAYS))
    half = (terms.Direction(0, 1, 0.5), terms.Direction(1, 0, 0.5))
    torch.testing.assert_close(whole / 2, gradient(terms.Detached(), half))


class Noting(nn.Module):
    """An objective with every hook."""

    takes_indices = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    def forward(self, a: torch.Tensor, b: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        self.calls.append(indices.tolist())
        return (a - b).square().mean()

    def before_step(self, step: int, total_steps: int) -> None:
        self.calls.append((step, total_steps))

    def after_step(self, *compared) -> None:
        self.calls.append([tuple(each.predicted.shape) for each in compared])
        assert all(each.indices.tolist() == [5, 6, 7, 8] for each in compared)


@dataclass(frozen=True)
class Note(terms.Objective):
    def build(self, dim: int) -> nn.Module:
        return Noting()


def test_objectives_move_on_and_know_the_images(recipes) -> None:
    term = replace(recipes.byol().method.terms[0], objective=Note())
    method = twin(recipes, terms.Detached(), terms=(term,)).train()
    assert method.takes_indices
    method.before_step(3, 9)
    _, out = method(*views().double(), indices=torch.arange(5, 9))
    method.after_step(out)
    assert method.objectives["global"].calls == [(3, 9), [5, 6, 7, 8], [5, 6, 7, 8], [(4, 1, 8), (4, 1, 8)]]
