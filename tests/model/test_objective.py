"""InfoNCE and cosine against their definitions, and the queue's life."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lewel.model.objective import Cosine, InBatchInfoNCE, QueueInfoNCE


def rows(b: int, n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(b, n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("sign", "value"), [(1, 0.0), (-1, 4.0)])
def test_cosine_of_equal_and_opposite_embeddings(sign: int, value: float) -> None:
    a = rows(3, 2)
    assert Cosine()(a, sign * 7 * a).item() == pytest.approx(value, abs=1e-12)


def test_cosine_is_the_squared_distance_of_unit_vectors() -> None:
    a, b = rows(3, 2), rows(3, 2, seed=1)
    distance = (functional.normalize(a, dim=2) - functional.normalize(b, dim=2)).square().sum(dim=2).mean()
    assert Cosine()(a, b).item() == pytest.approx(distance.item())


def test_queue_starts_as_unit_vectors() -> None:
    queue = QueueInfoNCE(5, 16, 0.2).queue
    torch.testing.assert_close(queue.norm(dim=0), torch.ones(16))


def test_queue_loss_is_eq_4() -> None:
    objective = QueueInfoNCE(5, 16, 0.3).double()
    objective.queue.div_(objective.queue.norm(dim=0))  # unit in float64 too
    a, b = rows(3, 2), rows(3, 2, seed=1)
    losses = []
    for i in range(3):
        for k in range(2):
            top = math.exp(functional.cosine_similarity(a[i, k], b[i, k], dim=0) / 0.3)
            rest = sum(math.exp(functional.cosine_similarity(a[i, k], key, dim=0) / 0.3) for key in objective.queue.T)
            losses.append(-math.log(top / (top + rest)))
    assert objective(a, b).item() == pytest.approx(sum(losses) / 6, rel=1e-12)


def test_the_loss_leaves_the_queue_alone() -> None:
    objective = QueueInfoNCE(5, 16, 0.3)
    before = objective.queue.clone()
    objective(rows(3, 1).float().requires_grad_(), rows(3, 1, seed=1).float()).backward()
    assert torch.equal(objective.queue, before) and objective.queue_ptr.item() == 0


def test_the_queue_holds_the_latest_keys_and_wraps() -> None:
    objective = QueueInfoNCE(5, 8, 0.3).double()
    everything = []
    for step in range(4):
        keys = rows(3, 1, seed=step)
        objective.enqueue(keys)
        everything += list(functional.normalize(keys[:, 0], dim=1))
        assert objective.queue_ptr.item() == 3 * (step + 1) % 8
    for age, key in enumerate(reversed(everything[-8:])):
        torch.testing.assert_close(objective.queue[:, (12 - 1 - age) % 8], key)


@pytest.mark.parametrize("columns_at_once", [1, 3, 16])
def test_queue_loss_some_columns_at_a_time(monkeypatch, columns_at_once: int) -> None:
    """Value and gradient as of all logits at once, for sharp logits too."""
    monkeypatch.setattr("lewel.model.objective._at_once", lambda _: columns_at_once * 6)
    objective = QueueInfoNCE(5, 16, 0.01).double()
    a, b = rows(3, 2).requires_grad_(), rows(3, 2, seed=1)
    (3 * objective(a, b)).backward()
    whole = rows(3, 2).requires_grad_()
    unit_a, unit_b = functional.normalize(whole, dim=-1).flatten(0, 1), functional.normalize(b, dim=-1).flatten(0, 1)
    logits = torch.cat([(unit_a * unit_b).sum(dim=1, keepdim=True), unit_a @ objective.queue], dim=1) / 0.01
    expected = functional.cross_entropy(logits, torch.zeros(6, dtype=torch.long))
    (3 * expected).backward()
    torch.testing.assert_close(objective(a, b), expected)
    torch.testing.assert_close(a.grad, whole.grad)


def test_queue_gradient() -> None:
    objective, b = QueueInfoNCE(5, 16, 0.3).double(), rows(3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda a: objective(a, b), rows(3, 2).requires_grad_())


def test_queue_state_survives_a_round_trip() -> None:
    first, second = QueueInfoNCE(5, 8, 0.3), QueueInfoNCE(5, 8, 0.3)
    first.enqueue(rows(3, 1).float())
    second.load_state_dict(first.state_dict())
    for objective in (first, second):
        objective.enqueue(rows(6, 1, seed=1).float())
    assert torch.equal(first.queue, second.queue) and torch.equal(first.queue_ptr, second.queue_ptr)


@pytest.mark.parametrize("same_index", [False, True])
def test_in_batch_loss_is_eq_4(same_index: bool) -> None:
    a, b = rows(3, 2), rows(3, 2, seed=1)
    losses = []
    for i in range(3):
        for k in range(2):
            top = math.exp(functional.cosine_similarity(a[i, k], b[i, k], dim=0) / 0.3)
            negatives = [b[j, m] for j in range(3) for m in range(2) if j != i and (m == k or not same_index)]
            assert len(negatives) == (2 if same_index else 4)
            rest = sum(math.exp(functional.cosine_similarity(a[i, k], key, dim=0) / 0.3) for key in negatives)
            losses.append(-math.log(top / (top + rest)))
    assert InBatchInfoNCE(0.3, same_index)(a, b).item() == pytest.approx(sum(losses) / 6, rel=1e-12)


def test_with_one_embedding_an_image_both_kinds_of_negatives_are_the_same() -> None:
    a, b = rows(4, 1), rows(4, 1, seed=1)
    logits = functional.normalize(a[:, 0], dim=1) @ functional.normalize(b[:, 0], dim=1).T / 0.3
    expected = functional.cross_entropy(logits, torch.arange(4))
    torch.testing.assert_close(InBatchInfoNCE(0.3, same_index=False)(a, b), expected)
    torch.testing.assert_close(InBatchInfoNCE(0.3, same_index=True)(a, b), expected)


@pytest.mark.parametrize("images_at_once", [1, 2])
def test_in_batch_loss_a_few_images_at_a_time(monkeypatch, images_at_once: int) -> None:
    """The logits of 3 images in 3 parts, or in parts of 2 and 1: value and gradient as of the whole."""

    def value_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        a = rows(3, 2).requires_grad_()
        loss = InBatchInfoNCE(0.3)(a, rows(3, 2, seed=1))
        (3 * loss).backward()
        return loss.detach(), a.grad

    expected = value_and_gradient()
    monkeypatch.setattr("lewel.model.objective._at_once", lambda _: images_at_once * 2 * 6)
    for found, whole in zip(value_and_gradient(), expected, strict=True):
        torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("same_index", [False, True])
def test_in_batch_gradient(same_index: bool) -> None:
    b = rows(3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda a: InBatchInfoNCE(0.3, same_index)(a, b), rows(3, 2).requires_grad_())


@pytest.mark.parametrize("objective", [Cosine(), QueueInfoNCE(5, 16, 0.2), InBatchInfoNCE(0.2)], ids=str)
def test_losses_are_fp32_under_autocast(objective: torch.nn.Module) -> None:
    a, b = rows(3, 2).bfloat16(), rows(3, 2, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(a, b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, objective(a.float(), b.float()))
