"""The seeded split: stratified, whole groups, every class in train, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from lewel.evaluate.split import held_out, whole_shares


def counts(labels: np.ndarray, chosen: np.ndarray) -> list[int]:
    return np.bincount(labels[chosen], minlength=int(labels.max()) + 1).tolist()


@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [
        ([10, 20, 30], 0.2, [2, 4, 6]),
        ([3, 3, 3, 3, 3], 0.2, [1, 1, 1, 0, 0]),  # 3 of 15
        ([100], 0.29, [29]),
        ([1, 1, 18], 0.2, [0, 0, 4]),  # one image stays in train; its share goes to others
        ([2, 2], 0.9, [1, 1]),
        ([0, 10], 0.5, [0, 5]),
    ],
)
def test_shares_in_whole_images(sizes: list[int], share: float, expected: list[int]) -> None:
    assert whole_shares(np.array(sizes), share).tolist() == expected


def test_without_groups_every_class_gives_its_share() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [50, 7, 1, 30]))
    for seed in range(5):
        chosen = held_out(labels, None, 0.2, seed)
        assert counts(labels, chosen) == whole_shares(np.bincount(labels), 0.2).tolist()
    assert whole_shares(np.bincount(labels), 0.2).tolist() == [10, 2, 0, 6]


@pytest.mark.parametrize(
    ("groups", "share", "seed", "expected"),
    [
        (None, 0.2, 0, [5, 6, 10, 19]),
        (None, 0.2, 1, [3, 8, 13, 16]),
        (np.arange(20) // 4, 0.4, 0, [0, 1, 2, 3, 16, 17, 18, 19]),
    ],
)
def test_the_same_everywhere(groups: np.ndarray | None, share: float, seed: int, expected: list[int]) -> None:
    """Written down once: no version and no machine may change it."""
    assert np.flatnonzero(held_out(np.arange(20) % 2, groups, share, seed)).tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_whole_and_classes_stay_in_train(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 600)
    groups = np.unique(rng.integers(0, 90, 600), return_inverse=True)[1]  # of several classes each
    chosen = held_out(labels, groups, 0.2, seed)
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert set(labels[~chosen]) == set(range(6))
    assert abs(int(chosen.sum()) - 120) <= 3
    assert np.abs(np.array(counts(labels, chosen)) - 0.2 * np.bincount(labels)).max() <= 6


def test_shots_of_one_class_each() -> None:
    labels = np.repeat(np.arange(5), 40)
    groups = np.arange(200) // 4  # ten shots of four a class
    for seed in range(5):
        assert counts(labels, held_out(labels, groups, 0.2, seed)) == [8] * 5
    assert (held_out(labels, groups, 0.2, 0) != held_out(labels, groups, 0.2, 1)).any()


def test_the_total_is_near_where_no_class_can_be() -> None:
    """Two shots of three in each of 30 classes: a shot is half of its class, and the share is met over all of them."""
    labels, groups = np.repeat(np.arange(30), 6), np.arange(180) // 3
    chosen = held_out(labels, groups, 0.2, 0)
    assert int(chosen.sum()) == 36
    assert max(counts(labels, chosen)) == 3


def test_too_many_are_given_back() -> None:
    """Classes of a shot of three and one of five: three are nearer to two than none, but not in all 20 classes."""
    labels, groups = np.repeat(np.arange(20), 8), np.arange(160) // 8 * 2 + np.tile([0, 0, 0, 1, 1, 1, 1, 1], 20)
    chosen = held_out(labels, groups, 0.25, 0)
    assert int(chosen.sum()) == 39  # of 40 wanted, by threes
    assert not set(groups[chosen]) & set(groups[~chosen])


def test_a_group_with_all_of_a_class_stays_in_train() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    groups = np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 5])
    for seed in range(5):
        chosen = held_out(labels, groups, 0.2, seed)
        assert not chosen[:5].any() and chosen.sum() == 2
    assert not held_out(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.5, 0).any()
    assert not held_out(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 2]), 0.9, 0)[:3].any()  # 2 of 3 are wanted
