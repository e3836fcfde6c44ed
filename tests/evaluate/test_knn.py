"""kNN against a brute-force loop: the neighbours with their ties, the vote, and what a class without a vote is."""

from __future__ import annotations

import io
import math

import pytest
import torch

from lewel.console import Console
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


def of_all_classes(found: knn.Votes, classes: int) -> torch.Tensor:
    """(queries, classes); -inf without a vote."""
    scores = torch.full((len(found.votes), classes), -math.inf, dtype=found.votes.dtype)
    return scores.scatter_reduce(1, found.classes, found.votes, "amax")


@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_votes_are_those_of_brute_force(k, monkeypatch):
    monkeypatch.setattr(knn, "QUERIES", 7)
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    queries = torch.randn(25, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (60,), generator=generator)
    found = of_all_classes(knn.votes(keys, labels, queries, k, 0.07), 7)
    expected = brute_force(keys.tolist(), labels.tolist(), queries.tolist(), k, 0.07)
    for row, votes in zip(found.tolist(), expected, strict=True):
        assert {c: vote for c, vote in enumerate(row) if vote != -math.inf} == pytest.approx(votes)


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
        votes = knn.votes(keys, order, queries, 2, 0.07)
        hit = {int(order[0]), int(order[1])}
        ranks = [int(votes.true_rank(torch.tensor([c]), 7)) for c in range(7)]
        assert [rank < 5 for rank in ranks] == [c in hit for c in range(7)]


@pytest.mark.parametrize("k", [1, 6, 40])
def test_classes_without_a_vote_need_not_be_there(k):
    """The same as of the scores of all classes, many of them tied."""
    generator = torch.Generator().manual_seed(k)
    keys = torch.eye(4)[torch.randint(0, 4, (40,), generator=generator)]
    queries, labels = torch.eye(4).repeat(5, 1), torch.arange(20) % 10
    votes = knn.votes(keys, torch.arange(40) % 9, queries, k, 1.0)
    scores = of_all_classes(votes, 10)
    assert torch.equal(votes.predicted(), scores.argmax(dim=1))
    assert torch.equal(votes.true_rank(labels, 10), metrics.true_rank(scores, labels))
    outcome = knn.classified(votes, labels, torch.arange(20), 10)
    assert (outcome.rank == metrics.true_rank(scores, labels).numpy()).all()


def test_a_million_classes_take_no_more_memory_than_ten():
    """Scores of all of them would take 400 MB."""
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(300, 4, generator=generator), torch.randn(100, 4, generator=generator)
    few, many = (knn.votes(keys, torch.arange(300) % 10 * step, queries, 20, 0.07) for step in (1, 100_000))
    assert many.votes.shape == few.votes.shape == (100, 20)
    assert torch.equal(many.votes, few.votes) and torch.equal(many.classes, 100_000 * few.classes)


def test_long_ones_show_how_far_they_are(monkeypatch):
    out = io.StringIO()
    keys, labels = torch.randn(30, 8), torch.arange(30) % 3
    knn.votes(keys, labels, keys, 5, 0.07, Console(file=out))
    assert out.getvalue() == ""
    monkeypatch.setattr(knn, "LONG", 1)
    monkeypatch.setattr(knn, "QUERIES", 10)
    knn.votes(keys, labels, keys, 5, 0.07, Console(file=out))
    assert "query 10/30" in out.getvalue() and "query 30/30" in out.getvalue()


def test_a_small_temperature_leaves_the_nearest_alone_to_decide():
    """In float32, which has no exp(1 / 0.001)."""
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.rand(60, 8, generator=generator), torch.rand(25, 8, generator=generator)
    labels = torch.randint(0, 7, (60,), generator=generator)
    nearest = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=2).argmax(dim=1)
    assert torch.equal(knn.votes(keys, labels, queries, 20, 1e-6).predicted(), labels[nearest])
    votes = of_all_classes(knn.votes(keys, labels, queries, 20, 0.001), 7)
    assert (votes[votes != -math.inf] >= 0).all() and (votes.amax(dim=1) >= 1).all() and (votes <= 20).all()


def test_a_large_temperature_counts():
    keys, queries = torch.rand(60, 8), torch.rand(25, 8)
    found = knn.votes(keys, torch.arange(60) % 7, queries, 60, 1e6)
    torch.testing.assert_close(
        of_all_classes(found, 7), torch.tensor([9.0, 9, 9, 9, 8, 8, 8]).expand(25, -1), rtol=1e-4, atol=0
    )
