"""linear-fast against scikit-learn at the same regularisation, how it chooses, and what it refuses."""

from __future__ import annotations

import io
import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lewel.console import Console
from lewel.engine import progress
from lewel.errors import UserError
from lewel.evaluate import classification, linear_fast
from lewel.evaluate.classification import Outcome
from lewel.evaluate.metrics import top_k
from lewel.evaluate.split import held_out


def clouds(n: int, classes: int, overlap: float, seed: int, dims: int = 16):
    """Gaussian clouds whose dimensions are correlated, of scales from 0.1 to 10, and far from 0."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(7)
    centres, mixing = torch.randn(classes, dims, generator=fixed), torch.randn(dims, dims, generator=fixed)
    labels = torch.arange(n) % classes
    rows = (centres[labels] + overlap * torch.randn(n, dims, generator=generator)) @ mixing
    return rows * torch.logspace(-1, 1, dims) + 5, labels


def theirs(keys, labels, decay: float) -> tuple[StandardScaler, LogisticRegression]:
    scaler = StandardScaler().fit(keys)
    c = (2 if len(labels.unique()) == 2 else 1) / (decay * len(keys))
    return scaler, LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaler.transform(keys), labels)


@pytest.mark.parametrize(("n", "classes", "dims"), [(300, 5, 16), (300, 2, 16), (40, 4, 64)])
@pytest.mark.parametrize("decay", [0.3, 0.003])
def test_the_minimum_is_scikit_learns(n, classes, dims, decay):
    keys, labels = clouds(n, classes, 1.5, 0, dims)
    keys[:, 3] = 0.1  # a dead channel
    queries = clouds(200, classes, 1.5, 1, dims)[0]
    scaler, reference = theirs(keys.double(), labels, decay)
    fitted = linear_fast.fit_at(keys, labels, classes, decay)
    expected = torch.from_numpy(reference.predict_log_proba(scaler.transform(queries.double()))).float()
    assert fitted.converged and fitted.tried == () and fitted.decay == decay
    assert (fitted.logits(queries).log_softmax(dim=1) - expected).abs().max() < 5e-3 * expected.std()


def test_separable_clouds_are_told_apart_and_labels_without_meaning_are_not():
    keys, labels = clouds(400, 4, 0.1, 0)
    queries, truth = clouds(200, 4, 0.1, 1)
    assert top_k(linear_fast.fit(keys, labels, 4).logits(queries), truth) == 100
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    assert max(tried.accuracy for tried in linear_fast.fit(keys, shuffled, 4).tried) < 40


def test_the_decay_is_the_best_on_the_part_held_out():
    keys, labels = clouds(500, 5, 2.5, 0)
    fitted = linear_fast.fit(keys, labels, 5, seed=3, decays=(0.001, 10, 0.1))
    assert [tried.decay for tried in fitted.tried] == [10, 0.1, 0.001]
    assert all(tried.converged for tried in fitted.tried)
    out = torch.from_numpy(held_out(labels.numpy(), None, linear_fast.HELD_OUT, 3))
    mean, std = keys.mean(dim=0), keys.std(dim=0)  # of all of train, as they are in `fit`
    for tried in fitted.tried:
        part = LogisticRegression(C=1 / (tried.decay * 400), tol=1e-8, max_iter=1000)
        part.fit(((keys - mean) / std)[~out], labels[~out])
        assert tried.accuracy == pytest.approx(100 * part.score(((keys - mean) / std)[out], labels[out]), abs=1)
    assert fitted.decay == max(fitted.tried, key=lambda tried: tried.accuracy).decay
    alone = linear_fast.fit_at(keys, labels, 5, fitted.decay)
    assert torch.allclose(fitted.logits(keys), alone.logits(keys), atol=1e-2)  # of 10; it began elsewhere


def test_of_equal_accuracies_the_stronger_decay_is_taken():
    keys, labels = clouds(200, 4, 0.01, 0)
    fitted = linear_fast.fit(keys, labels, 4)
    first = next(tried for tried in fitted.tried if tried.accuracy == 100)
    assert fitted.decay == first.decay > linear_fast.GRID[-1]


def test_the_parts_in_which_rows_are_turned_change_nothing(monkeypatch):
    keys, labels = clouds(300, 4, 1.0, 0)
    whole = linear_fast.fit(keys, labels, 4)
    monkeypatch.setattr(linear_fast, "CHUNK", 7)
    parts = linear_fast.fit(keys, labels, 4)
    assert parts.decay == whole.decay
    assert torch.allclose(parts.logits(keys), whole.logits(keys), atol=1e-2)  # of 10; other roundings


def test_scores_in_parts_change_nothing(monkeypatch):
    """7 rows at a time, and a short history of L-BFGS: many classes have no room for more. The minimum is the same."""
    keys, labels = clouds(300, 4, 1.0, 0)
    whole = linear_fast.fit_at(keys, labels, 4, 0.01)
    monkeypatch.setattr(classification, "AT_ONCE", 28)
    monkeypatch.setattr(linear_fast, "MEMORY", 1)
    parts = linear_fast.fit_at(keys, labels, 4, 0.01)
    assert parts.converged and parts.steps > whole.steps
    assert torch.allclose(parts.logits(keys), whole.logits(keys), atol=1e-2)  # of 10
    outcomes = [Outcome.in_parts(parts.logits, keys, labels, torch.arange(300), classes) for classes in (4, 10**9)]
    assert all((one == other).all() for one, other in zip(*(each.arrays().values() for each in outcomes), strict=True))


def test_a_long_fit_says_what_it_fits_and_how_far_it_is(monkeypatch):
    keys, labels = clouds(300, 4, 1.0, 0)
    out = io.StringIO()
    linear_fast.fit(keys, labels, 4, decays=(1, 0.1), console=Console(file=out))
    assert out.getvalue() == ""
    monkeypatch.setattr(linear_fast, "LONG", 1)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0)
    linear_fast.fit(keys, labels, 4, decays=(1, 0.1), console=Console(file=out, width=200))
    first, *lines = out.getvalue().splitlines()
    assert first == "linear-fast: 300 images, 16 features, 4 classes; 2 decays, then the best"
    assert lines[0].split() == ["decay", "0/3", "decay", "1,", "step", "1"]
    assert {line.split()[1] for line in lines} == {"0/3", "1/3", "2/3"}


def test_a_class_without_keys_is_never_predicted():
    keys, labels = clouds(300, 4, 1.0, 0)
    renamed = torch.tensor([1, 2, 5, 6])[labels]
    fitted = linear_fast.fit_at(keys, renamed, 8, 0.1)
    logits = fitted.logits(keys)
    assert logits.isneginf().all(dim=0).nonzero().flatten().tolist() == [0, 3, 4, 7]
    assert torch.equal(logits[:, [1, 2, 5, 6]], linear_fast.fit_at(keys, labels, 4, 0.1).logits(keys))


def test_a_channel_that_only_wakes_up_in_the_queries_decides_nothing():
    keys, labels = clouds(300, 4, 1.0, 0)
    keys[:, 2] = 0.1
    queries = keys.clone()
    queries[:, 2] = 3.0
    fitted = linear_fast.fit_at(keys, labels, 4, 0.01)
    assert (fitted.logits(queries) - fitted.logits(keys)).abs().max() < 1e-3


def test_it_changes_nothing_and_draws_nothing():
    keys, labels = clouds(200, 4, 1.0, 0)
    before, random = keys.clone(), torch.get_rng_state()
    with torch.no_grad():
        first = linear_fast.fit(keys, labels, 4, seed=5)
    torch.rand(3)
    second = linear_fast.fit(keys, labels, 4, seed=5)
    assert torch.equal(first.weight, second.weight) and first.tried == second.tried
    torch.set_rng_state(random)
    linear_fast.fit(keys, labels, 4, seed=6)
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(before, keys)
    assert not first.weight.requires_grad


def test_a_minimum_that_was_not_reached_is_said(monkeypatch, caplog):
    monkeypatch.setattr(linear_fast, "MOST_STEPS", 3)
    keys, labels = clouds(300, 5, 1.5, 0)
    fitted = linear_fast.fit(keys, labels, 5, decays=(0.001,))
    assert not fitted.converged and not fitted.tried[0].converged and fitted.steps == 3
    assert "stopped after 3 steps at decay 0.001, not at the minimum" in caplog.text


def test_what_cannot_be_fitted():
    keys, labels = clouds(40, 4, 1.0, 0)
    with pytest.raises(UserError, match="two classes or more in --data; all 10 images are of one"):
        linear_fast.fit(keys[labels == 2], labels[labels == 2], 4)
    with pytest.raises(UserError, match="a class of two images or more"):
        linear_fast.fit(keys[:4], labels[:4], 4)
    assert linear_fast.fit_at(keys[:4], labels[:4], 4, 0.1).converged
    with pytest.raises(UserError, match="a decay of 0: must be above 0"):
        linear_fast.fit_at(keys, labels, 4, 0.0)
    keys[3, 1], keys[3, 2], keys[9, 0] = math.nan, math.inf, -math.inf
    with pytest.raises(UserError, match="features of 2 of 40 images are not finite"):
        linear_fast.fit(keys, labels, 4)
