"""kNN against a brute-force loop: the neighbours with their ties, the vote, and what a class without a vote is."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from lewel.evaluate import knn, metrics


def brute_force(keys, labels, queries, k, temperature):
    """The votes of each query by class."""
    found = []
    for query in queries:
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / math.hypot(*query) / math.hypot(*key) for key in keys
        ]
        votes = {}
        for i in sorted(range(len(keys)), key=lambda i: -similarity[i])[:k]:
            votes[labels[i]] = votes.get(labels[i], 0) + math.exp((similarity[i] - max(similarity)) / temperature)
        found.append(votes)
    return found


@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_votes_are_those_of_brute_force(k, monkeypatch):
    monkeypatch.setattr(knn, "QUERIES", 7)
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    queries = torch.randn(25, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (60,), generator=generator)
    votes = knn.votes(keys, labels, queries, 7, k, 0.07)
    for row, expected in zip(
        votes.tolist(), brute_force(keys.tolist(), labels.tolist(), queries.tolist(), k, 0.07), strict=True
    ):
        assert {c: vote for c, vote in enumerate(row) if vote != -math.inf} == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [1, 3, 8, 17, 64])
@pytest.mark.parametrize("k", [1, 4, 10, 40, 100])
def test_of_equally_near_keys_the_lower_come_first(k, chunk):
    """Along axes, so that similarities are exact and most are tied: 0, 1 or -1."""
    generator = torch.Generator().manual_seed(chunk)
    keys = torch.eye(4)[torch.randint(0, 4, (64,), generator=generator)] * torch.randint(0, 2, (64, 1)).mul(2).sub(1)
    queries = torch.eye(4)
    found = knn.nearest(keys, queries, k, chunk)
    similarity = queries @ keys.T
    for query in range(4):
        expected = sorted(range(64), key=lambda i: (-similarity[query, i].item(), i))[:k]
        assert found.keys[query].tolist() == sorted(expected)
        assert torch.equal(found.similarity[query], similarity[query, sorted(expected)])


def test_parts_of_the_keys_change_nothing():
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(500, 16, generator=generator)
    keys[250:] = keys[:250]  # each has a twin
    queries = torch.randn(50, 16, generator=generator)
    before = keys.clone()
    whole = knn.nearest(keys, queries, 21, 500)
    for chunk in (250, 50):
        parts = knn.nearest(keys, queries, 21, chunk)
        assert torch.equal(parts.keys, whole.keys)
        assert torch.allclose(parts.similarity, whole.similarity)
    assert torch.equal(keys, before)


def test_a_true_class_without_a_vote_is_a_miss_wherever_it_stands():
    keys, queries = torch.eye(7), torch.eye(7)[:1]
    for true in range(7):
        order = torch.arange(7).roll(true)
        votes = knn.votes(keys, order, queries, 7, 2, 0.07)
        hit = {int(order[0]), int(order[1])}
        ranks = [int(metrics.true_rank(votes, torch.tensor([c]))) for c in range(7)]
        assert [rank < 5 for rank in ranks] == [c in hit for c in range(7)]


def test_long_ones_show_how_far_they_are(monkeypatch):
    out = io.StringIO()
    keys, labels = torch.randn(30, 8), torch.arange(30) % 3
    knn.votes(keys, labels, keys, 3, 5, 0.07, Console(file=out))
    assert out.getvalue() == ""
    monkeypatch.setattr(knn, "LONG", 1)
    monkeypatch.setattr(knn, "QUERIES", 10)
    knn.votes(keys, labels, keys, 3, 5, 0.07, Console(file=out))
    assert "query 10/30" in out.getvalue() and "query 30/30" in out.getvalue()


def test_a_small_temperature_leaves_the_nearest_alone_to_decide():
    """In float32, which has no exp(1 / 0.001)."""
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.rand(60, 8, generator=generator), torch.rand(25, 8, generator=generator)
    labels = torch.randint(0, 7, (60,), generator=generator)
    nearest = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=2).argmax(dim=1)
    assert torch.equal(knn.votes(keys, labels, queries, 7, 20, 1e-6).argmax(dim=1), labels[nearest])
    votes = knn.votes(keys, labels, queries, 7, 20, 0.001)
    assert (votes[votes != -math.inf] >= 0).all() and (votes.amax(dim=1) >= 1).all() and (votes <= 20).all()


def test_a_large_temperature_counts():
    keys, queries = torch.rand(60, 8), torch.rand(25, 8)
    found = knn.votes(keys, torch.arange(60) % 7, queries, 7, 60, 1e6)
    torch.testing.assert_close(found, torch.tensor([9.0, 9, 9, 9, 8, 8, 8]).expand(25, -1), rtol=1e-4, atol=0)
