"""kNN against a brute-force loop."""

from __future__ import annotations

import math

import pytest
import torch

from lewel.evaluate import knn


def brute_force(keys, labels, queries, k, temperature):
    predicted = []
    for query in queries:
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / math.hypot(*query) / math.hypot(*key) for key in keys
        ]
        nearest = sorted(range(len(keys)), key=lambda i: -similarity[i])[:k]
        votes = {}
        for i in nearest:
            votes[labels[i]] = votes.get(labels[i], 0) + math.exp(similarity[i] / temperature)
        predicted.append(max(sorted(votes), key=votes.__getitem__))
    return predicted


@pytest.mark.parametrize("k", [1, 5, 100])
def test_predict_is_the_brute_force_vote(k):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    queries = torch.randn(25, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (60,), generator=generator)
    expected = brute_force(keys.tolist(), labels.tolist(), queries.tolist(), k, 0.07)
    assert knn.predict(keys, labels, queries, k=k, chunk=7).tolist() == expected


def test_a_small_temperature_leaves_the_nearest_alone_to_decide():
    """In float32, which has no exp(1 / 0.001)."""
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.rand(60, 8, generator=generator), torch.rand(25, 8, generator=generator)
    labels = torch.randint(0, 7, (60,), generator=generator)
    nearest = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=2).argmax(dim=1)
    assert torch.equal(knn.predict(keys, labels, queries, k=20, temperature=1e-6), labels[nearest])
    assert knn.votes(keys, labels, queries, 7, 20, 0.001).isfinite().all()


def test_a_large_temperature_counts():
    keys, queries = torch.rand(60, 8), torch.rand(25, 8)
    found = knn.votes(keys, torch.arange(60) % 7, queries, 7, 60, 1e6)
    torch.testing.assert_close(found, torch.tensor([9.0, 9, 9, 9, 8, 8, 8]).expand(25, -1), rtol=1e-4, atol=0)
