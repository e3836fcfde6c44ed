"""The quick linear probe, against what a linear layer can and cannot tell."""

from __future__ import annotations

import torch

from lewel.evaluate.probe import DECAY, probe_top1


def clouds(n: int, classes: int, spread: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(n) % classes
    return centres[labels] + spread * torch.randn(n, 16, generator=generator), labels


def test_separable_clouds_are_told_apart_and_labels_without_meaning_are_not():
    keys, key_labels = clouds(400, 4, 0.1, 0)
    queries, query_labels = clouds(200, 4, 0.1, 1)
    assert probe_top1(keys, key_labels, queries, query_labels) == 100
    shuffled = key_labels[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    assert probe_top1(keys, shuffled, queries, query_labels) < 60


def test_the_fit_is_at_the_minimum():
    """At the minimum of the convex loss another hundred iterations change no prediction."""
    keys, key_labels = clouds(300, 5, 1.5, 0)
    queries, query_labels = clouds(500, 5, 1.5, 1)
    assert probe_top1(keys, key_labels, queries, query_labels, 200) == probe_top1(
        keys, key_labels, queries, query_labels, 300
    )
    assert DECAY > 0  # without decay separable data has no minimum
