"""Intervals: how often they cover, what a difference of 0 looks like, and that pairs and seeds count."""

from __future__ import annotations

import numpy as np
import pytest

from lewel.evaluate import intervals
from lewel.evaluate.intervals import Mean, OfSums, interval, paired


@pytest.fixture
def fewer_draws(monkeypatch):
    monkeypatch.setattr(intervals, "DRAWS", 200)


def hits(values) -> Mean:
    return Mean.of(100.0 * np.asarray(values), bounds=(0, 100))


def found_better(generator, images: int, seeds: int, difference: float, noise: float = 0.05):
    """Of two weights over images of different difficulty: seeds move the rate of both, each image is right or not."""
    easy = generator.beta(2, 1, images)
    sides = [
        [hits(generator.random(images) < (easy + shift).clip(0, 1)) for shift in generator.normal(plus, noise, seeds)]
        for plus in (difference, 0.0)
    ]
    return paired(*sides)


@pytest.mark.parametrize(("images", "seeds"), [(10, 1), (200, 1), (200, 3)])
def test_a_difference_of_0_is_marked_in_about_5_per_cent_or_less(fewer_draws, images, seeds):
    """200 experiments: 5 % are 10 with a standard deviation of 3.1; without Student's t, three seeds give 30."""
    generator = np.random.default_rng(images + seeds)
    noise = 0.0 if seeds == 1 else 0.05
    marked = sum(found_better(generator, images, seeds, 0.0, noise).excludes_zero for _ in range(200))
    assert marked <= 18


@pytest.mark.parametrize(("images", "seeds"), [(200, 1), (200, 3)])
def test_a_known_effect_is_covered(fewer_draws, images, seeds):
    """The true difference of the rates, which the clipping at 1 makes smaller than the one planted."""
    generator = np.random.default_rng(1)
    easy = generator.beta(2, 1, 100_000)
    truth = 100 * float(((easy + 0.1).clip(0, 1) - easy).mean())
    noise = 0.0 if seeds == 1 else 0.02
    found = [found_better(generator, images, seeds, 0.1, noise) for _ in range(150)]
    assert sum(each.low <= truth <= each.high for each in found) >= 0.91 * 150
    assert np.mean([each.mean for each in found]) == pytest.approx(truth, abs=1)


def test_a_large_effect_is_found():
    generator = np.random.default_rng(0)
    assert sum(found_better(generator, 500, 1, 0.2, 0.0).excludes_zero for _ in range(5)) == 5
    assert sum(found_better(generator, 500, 5, 0.2, 0.01).excludes_zero for _ in range(5)) == 5


def test_the_interval_of_a_rate_is_wilsons():
    """Wilson's interval, by its formula, at 1.96: both are near it within two images."""
    for right, of in ((4, 4), (0, 20), (30, 40), (700, 1000)):
        found = interval([hits(np.arange(of) < right)])
        share, z = right / of, 1.96
        middle = (share + z * z / 2 / of) / (1 + z * z / of)
        half = z / (1 + z * z / of) * np.sqrt(share * (1 - share) / of + (z / 2 / of) ** 2)
        assert found.mean == pytest.approx(100 * share)
        assert (found.low, found.high) == pytest.approx((100 * (middle - half), 100 * (middle + half)), abs=120 / of)


def test_pairs_take_the_difficulty_of_the_images_out():
    """Two classifiers that differ on 20 of 400 images, all in one direction: far apart only image by image."""
    one = np.arange(400) % 2 == 0
    two = one & (np.arange(400) >= 40)
    a, b = interval([hits(one)]), interval([hits(two)])
    assert a.low < b.high
    difference = paired([hits(one)], [hits(two)])
    assert difference is not None and difference.excludes_zero and difference.mean == pytest.approx(5)
    assert 2.5 < difference.low < 5 < difference.high < 7.5
    same = paired([hits(one)], [hits(one)])
    assert same is not None and same == (0, 0, 0) and not same.excludes_zero


def test_the_same_predictions_give_the_same_interval():
    values = np.random.default_rng(0).random(50)
    shuffled = np.random.default_rng(1).permutation(50)
    assert interval([Mean.of(values)]) == interval([Mean.of(values[shuffled], images=shuffled)])


def test_images_that_one_of_both_lacks_are_left_out():
    one = Mean.of(np.array([100.0, 0, 100, 0]), images=np.array([3, 0, 1, 2]))
    two = Mean.of(np.array([100.0, 0]), images=np.array([1, 2]))
    difference = paired([one], [two])
    assert difference is not None and difference.mean == 0
    assert paired([one], [Mean.of(np.array([1.0]), images=np.array([9]))]) is None


def test_one_deterministic_seed_stands_against_several():
    generator = np.random.default_rng(0)
    once, several = [hits(np.arange(300) < 200)], [hits(generator.random(300) < 0.3) for _ in range(3)]
    difference = paired(once, several)
    assert difference is not None and difference.excludes_zero
    reverse = paired(several, once)
    assert reverse is not None and reverse.mean == pytest.approx(-difference.mean)


def test_seeds_that_differ_widen_the_interval(monkeypatch):
    """To Student's, by so many draws and images that both leave it within a few per cent."""
    monkeypatch.setattr(intervals, "DRAWS", 100_000)
    images = np.arange(100_000)
    alike = interval([hits(images % 100 < 50)] * 3)
    apart = interval([hits(images % 100 < right) for right in (40, 50, 60)])
    assert alike.mean == pytest.approx(apart.mean)
    assert apart.high - apart.low > 4 * (alike.high - alike.low)
    t, z = 4.303, 10 / np.sqrt(3)  # two degrees of freedom; the deviation of 40, 50 and 60 is 10, not 8.2
    assert apart.high - apart.low == pytest.approx(2 * t * z, rel=0.05)


def test_weights_are_those_of_the_mean():
    """Classes of 90 and 10 images: the mean of classes, each counted alike."""
    right, weights = np.arange(100) < 90, np.where(np.arange(100) < 90, 1 / 90, 1 / 10)
    assert Mean.of(100.0 * right, weights=weights).value() == pytest.approx(50)
    assert interval([Mean.of(np.full(100, 7.0), weights=weights, bounds=(0, 100))]).mean == pytest.approx(7)


def test_a_metric_of_sums_is_the_mean_where_it_is_one():
    values = np.random.default_rng(0).random(200)
    sums = OfSums(np.arange(200), np.stack([values, np.ones(200)], axis=1), lambda s: s[..., 0] / s[..., 1])
    assert interval([sums]) == pytest.approx(interval([Mean.of(values)]), abs=0.01)
    other = OfSums(sums.images, sums.each * [0.5, 1], sums.of)
    difference = paired([sums], [other])
    assert difference is not None
    assert difference == pytest.approx(paired([Mean.of(values)], [Mean.of(values / 2)]), abs=0.01)
    assert interval([sums, other]).mean == pytest.approx(0.75 * values.mean())


def test_parts_of_the_draws_change_only_the_random_numbers(monkeypatch):
    values = np.random.default_rng(0).random(200)
    whole = interval([Mean.of(values)])
    monkeypatch.setattr(intervals, "AT_ONCE", 1000)
    assert interval([Mean.of(values)]) == pytest.approx(whole, abs=0.01)
