"""The measures against scikit-learn's on random predictions, and what they say where it says nothing."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics as theirs

from lewel.evaluate import metrics

N, CLASSES = 500, 12


@pytest.fixture(params=[0, 1])
def scored(request):
    """Logits without ties, and labels that are right in a third of the rows; classes 3 and 7 have none."""
    generator = torch.Generator().manual_seed(request.param)
    logits = torch.randn(N, CLASSES, generator=generator)
    present = torch.tensor([c for c in range(CLASSES) if c not in (3, 7)])
    labels = present[torch.randint(len(present), (N,), generator=generator)]
    logits[torch.arange(0, N, 3), labels[::3]] += 2
    return logits, labels


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_top_k(scored, k):
    logits, labels = scored
    expected = theirs.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES))
    assert metrics.top_k(logits, labels, k) == pytest.approx(100 * expected, abs=1e-12)


def test_of_equal_scores_the_lower_class_comes_first_as_in_argmax():
    logits = torch.randint(0, 3, (N, CLASSES), generator=torch.Generator().manual_seed(0)).float()
    order = torch.sort(logits, dim=1, descending=True, stable=True).indices
    labels = torch.arange(N) % CLASSES
    expected = (order == labels[:, None]).int().argmax(dim=1)
    assert torch.equal(metrics.true_rank(logits, labels), expected)
    assert torch.equal(metrics.true_rank(logits, logits.argmax(dim=1)), torch.zeros(N, dtype=torch.long))
    assert metrics.top_k(logits, labels, CLASSES) == 100


def test_what_is_not_a_number_is_never_right():
    logits = torch.tensor([[math.nan, 1.0, 0.0], [math.nan] * 3, [2.0, math.nan, 0.0], [-math.inf, 1.0, 0.0]])
    assert metrics.true_rank(logits, torch.tensor([0, 0, 0, 0])).tolist() == [3, 3, 1, 3]
    truth = torch.tensor([[True, False]])
    assert metrics.mean_attributes(torch.full((1, 2), math.nan), truth) == 0


def test_confusion_and_per_class(scored):
    logits, labels = scored
    predicted = logits.argmax(dim=1)
    matrix = metrics.confusion(predicted, labels, CLASSES)
    assert (matrix.numpy() == theirs.confusion_matrix(labels, predicted, labels=range(CLASSES))).all()
    present = labels.unique()
    recall = theirs.recall_score(labels, predicted, labels=present, average=None)
    found = metrics.per_class(predicted, labels, CLASSES)
    assert torch.allclose(found[present], torch.from_numpy(100 * recall), rtol=0, atol=1e-12)
    assert found.isnan().nonzero().flatten().tolist() == [3, 7]
    assert metrics.accuracy(predicted, labels) == pytest.approx(100 * theirs.accuracy_score(labels, predicted))
    assert metrics.accuracy(predicted, labels) == metrics.top_k(logits, labels, 1)


def test_attributes():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(N, 40, generator=generator) < torch.linspace(0, 1, 40)
    logits = torch.randn(N, 40, generator=generator) + truth
    logits[:50] = 0  # a probability of exactly 0.5 is a no
    expected = [
        100 * theirs.accuracy_score(true, chance > 0.5)
        for true, chance in zip(truth.T, logits.sigmoid().T, strict=True)
    ]
    assert metrics.per_attribute(logits, truth).tolist() == pytest.approx(expected, abs=1e-12)
    assert metrics.mean_attributes(logits, truth) == pytest.approx(sum(expected) / 40, abs=1e-12)
