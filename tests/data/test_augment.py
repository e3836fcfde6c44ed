"""The drawn parameters: pure functions, with the distributions of torchvision's transforms."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from lewel.config import View
from lewel.data.augment import Parameters, permutation, sample, uniforms

LEWEL = View(jitter=(0.4, 0.4, 0.2, 0.1), blur=1.0, solarize=0.2)
N = 4000


def many(view: View, size: tuple[int, int] = (640, 480), n: int = N) -> list[Parameters]:
    return [sample(view, size, 224, seed=0, epoch=0, index=index, view_number=0) for index in range(n)]


def quantiles_agree(drawn: np.ndarray, reference: np.ndarray) -> bool:
    """Two-sample Kolmogorov-Smirnov at a level of about 1e-4."""
    every = np.sort(np.concatenate([drawn, reference]))
    distance = [np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (drawn, reference)]
    bound = 2.23 * math.sqrt(1 / len(drawn) + 1 / len(reference))
    return float(np.abs(distance[0] - distance[1]).max()) < bound


# -- purity


def test_the_same_integers_give_the_same_parameters() -> None:
    first = sample(LEWEL, (64, 64), 64, 1, 2, 3, 4)
    for _ in range(3):
        np.random.default_rng().random()
        torch.rand(())
        assert sample(LEWEL, (64, 64), 64, 1, 2, 3, 4) == first


def test_every_integer_matters() -> None:
    base = {"seed": 1, "epoch": 2, "index": 3, "number": 4}
    draws = {uniforms(4, 2, **base).tobytes()}
    for name in base:
        for value in (0, 7, 2**40):
            draws.add(uniforms(4, 2, **{**base, name: value}).tobytes())
    assert len(draws) == 1 + 4 * 3
    assert uniforms(4, 1, **base).tobytes() not in draws


def test_large_and_negative_seeds_are_not_rounded() -> None:
    draws = {uniforms(4, 2, seed=seed, epoch=0, index=0).tobytes() for seed in (-1, -2, 2**63, 2**63 + 1, 2**62 + 1)}
    assert len(draws) == 5


def philox(key: list[int], counter: list[int]) -> list[int]:
    """Philox4x64-10 as in Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3."""
    mask = 2**64 - 1
    for _ in range(10):
        products = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        high, low = [product >> 64 for product in products], [product & mask for product in products]
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


def test_uniforms_are_philox() -> None:
    """Another generator, or another NumPy, may not change the pixels of runs that are going on."""
    words = philox([1, 2], [1, 4, 3, 2]) + philox([1, 2], [2, 4, 3, 2])
    assert uniforms(8, 2, seed=1, epoch=2, index=3, number=4).tolist() == [(word >> 11) / 2**53 for word in words]


def test_uniforms_are_uniform() -> None:
    draws = np.concatenate([uniforms(8, 2, 0, 0, index) for index in range(5000)])
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(draws))


def test_permutation() -> None:
    first = permutation(1000, seed=0, epoch=0)
    assert sorted(first.tolist()) == list(range(1000))
    assert (permutation(1000, 0, 0) == first).all()
    for other in (permutation(1000, 0, 1), permutation(1000, 1, 0)):
        assert (other == first).sum() < 10
    assert not (np.diff(first) == 1).sum() > 10


# -- distributions


@pytest.mark.parametrize("size", [(640, 480), (64, 64), (1000, 90), (20, 300), (3, 2)])
def test_crops_are_torchvisions(size: tuple[int, int]) -> None:
    """Against 4,000 draws of RandomResizedCrop, images included whose shape makes the central crop the usual case."""
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(8, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))
    image = torch.empty(3, size[1], size[0])
    theirs = [transform.make_params([image]) for _ in range(N)]
    ours = [each.crop for each in many(LEWEL, size)]
    for position, name in enumerate(("left", "top", "width", "height")):
        mine, reference = np.array([crop[position] for crop in ours]), np.array([each[name] for each in theirs])
        assert quantiles_agree(mine, reference), name
    left, top, width, height = np.array(ours).T
    assert (left >= 0).all() and (top >= 0).all() and (width > 0).all() and (height > 0).all()
    assert (left + width <= size[0]).all() and (top + height <= size[1]).all()


@pytest.mark.parametrize(("size", "crop"), [((1000, 90), (440, 0, 120, 90)), ((20, 300), (0, 136, 20, 27))])
def test_the_central_crop(size: tuple[int, int], crop: tuple[int, int, int, int]) -> None:
    """An area that cannot fit, ten times: the largest crop of the nearest aspect that is allowed."""
    assert {each.crop for each in many(replace(LEWEL, scale=(0.9, 1.0)), size, 50)} == {crop}


def test_one_pixel() -> None:
    assert {each.crop for each in many(LEWEL, (1, 1), 50)} == {(0, 0, 1, 1)}
    for size in ((1, 500), (500, 1)):
        for each in many(LEWEL, size, 50):
            assert each.crop[2] >= 1 and each.crop[3] >= 1


def test_area_and_aspect() -> None:
    crops = np.array([each.crop for each in many(LEWEL, (4000, 4000))], dtype=float)
    share, aspect = crops[:, 2] * crops[:, 3] / 4000**2, crops[:, 2] / crops[:, 3]
    assert share.min() > 0.199 and share.max() <= 1
    assert aspect.min() > 0.749 and aspect.max() < 1.334
    small = aspect[share < 0.5]  # nearly every aspect fits: log-uniform
    assert abs(np.log(small).mean()) < 0.02
    assert quantiles_agree(np.log(small), np.random.default_rng(0).uniform(math.log(0.75), math.log(4 / 3), N))


def test_area_and_place_are_uniform() -> None:
    """Where every aspect fits, nothing is rejected: the area is what was drawn, and each place is as likely."""
    full = 4000
    crops = np.array([each.crop for each in many(replace(LEWEL, scale=(0.1, 0.5)), (full, full))], dtype=float)
    left, top, width, height = crops.T
    assert distance_to_uniform(width * height / full**2, 0.1, 0.5) < 2.23 / math.sqrt(N)
    for offset, side in ((left, width), (top, height)):
        assert distance_to_uniform(offset / (full - side), 0, 1) < 2.23 / math.sqrt(N)


def distance_to_uniform(values: np.ndarray, low: float, high: float) -> float:
    """Kolmogorov's: the largest distance between the shares below; above 2.23 / sqrt(n) with probability 1e-4."""
    expected = np.clip((np.sort(values) - low) / (high - low), 0, 1)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def test_probabilities() -> None:
    view = View(flip=0.5, vertical_flip=0.25, jitter_probability=0.8, gray=0.2, blur=0.1, solarize=0.3)
    drawn = many(view)
    for share, count in (
        (0.5, sum(each.flip for each in drawn)),
        (0.25, sum(each.vertical_flip for each in drawn)),
        (0.8, sum(bool(each.jitter) for each in drawn)),
        (0.2, sum(each.gray for each in drawn)),
        (0.1, sum(each.blur > 0 for each in drawn)),
        (0.3, sum(each.solarize for each in drawn)),
    ):
        assert abs(count / N - share) < 4 * math.sqrt(share * (1 - share) / N)


def test_choices_are_independent() -> None:
    drawn = many(View(flip=0.5, vertical_flip=0.5, jitter_probability=0.5, gray=0.5, blur=0.5, solarize=0.5))
    table = np.array([(e.flip, e.vertical_flip, bool(e.jitter), e.gray, e.blur > 0, e.solarize) for e in drawn], float)
    correlation = np.corrcoef(table.T) - np.eye(6)
    assert np.abs(correlation).max() < 4.5 / math.sqrt(N)
    other = [sample(View(), (64, 64), 64, 0, 0, index, 1).flip for index in range(N)]
    assert abs(np.corrcoef(table[:, 0], other)[0, 1]) < 4.5 / math.sqrt(N)


def test_certain_and_impossible() -> None:
    always = View(flip=1.0, vertical_flip=1.0, jitter_probability=1.0, gray=1.0, blur=1.0, solarize=1.0)
    never = View(flip=0.0, vertical_flip=0.0, jitter_probability=0.0, gray=0.0, blur=0.0, solarize=0.0)
    for each in many(always, n=200):
        assert each.flip and each.vertical_flip and each.jitter and each.gray and each.blur and each.solarize
    for each in many(never, n=200):
        assert each == Parameters(size=(640, 480), crop=each.crop, output=224)


def test_strengths() -> None:
    drawn = many(replace(LEWEL, jitter_probability=1.0, rotation=30.0))
    rng = np.random.default_rng(0)
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.8, 1.2),
        ("hue", -0.1, 0.1),
    ):
        values = np.array([dict(each.jitter)[name] for each in drawn])
        assert low <= values.min() and values.max() <= high
        assert quantiles_agree(values, rng.uniform(low, high, N)), name
    assert quantiles_agree(np.array([each.blur for each in drawn]), rng.uniform(0.1, 2.0, N))
    assert quantiles_agree(np.array([each.rotation for each in drawn]), rng.uniform(-30, 30, N))


def test_strong_jitter_stays_above_zero() -> None:
    factors = [
        dict(each.jitter)["brightness"] for each in many(View(jitter=(1.5, 0.0, 0.0, 0.0), jitter_probability=1.0))
    ]
    assert 0 <= min(factors) < 0.01 and 2.49 < max(factors) <= 2.5


def test_the_24_orders_are_equally_likely() -> None:
    orders = Counter(tuple(name for name, _ in each.jitter) for each in many(replace(LEWEL, jitter_probability=1.0)))
    assert len(orders) == 24
    statistic = sum((count - N / 24) ** 2 / (N / 24) for count in orders.values())
    assert statistic < 58  # chi-squared with 23 degrees of freedom: 1e-4


def test_operations_of_strength_0_are_left_out() -> None:
    names = {name for each in many(View(jitter=(0.4, 0.0, 0.0, 0.1)), n=200) for name, _ in each.jitter}
    assert names == {"brightness", "hue"}


def test_box() -> None:
    parameters = Parameters(size=(200, 100), crop=(50, 10, 100, 80), output=8)
    assert parameters.box() == pytest.approx((0.25, 0.1, 0.75, 0.9))
