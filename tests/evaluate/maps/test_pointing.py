"""What maps are measured by: chance is chance, perfect is perfect, and a brute-force count agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lewel.evaluate.maps import bootstrap, pointing

ALL = torch.ones(8, 8, dtype=torch.bool)


def rectangle(x0: int, y0: int, x1: int, y1: int, side: int = 8) -> torch.Tensor:
    found = torch.zeros(side, side, dtype=torch.bool)
    found[y0:y1, x0:x1] = True
    return found


def test_a_map_without_a_peak_points_by_chance() -> None:
    objects = rectangle(1, 0, 6, 5)
    shares = pointing.cell_shares(objects, ALL, 4, 4)
    assert float(shares.mean()) == pytest.approx(25 / 64)
    assert float(pointing.pointing(torch.full((1, 4, 4), 1 / 16), shares)) == pytest.approx(25 / 64)


def test_a_peak_points_at_what_lies_in_its_cell() -> None:
    shares = pointing.cell_shares(rectangle(1, 0, 6, 5), ALL, 4, 4)
    one_hot = torch.eye(16).view(16, 4, 4)
    expected = [0.5, 1, 1, 0, 0.5, 1, 1, 0, 0.25, 0.5, 0.5, 0, 0, 0, 0, 0]
    assert pointing.pointing(one_hot, shares).tolist() == pytest.approx(expected)
    two = one_hot[0] + one_hot[1]
    assert float(pointing.pointing(two[None], shares)) == pytest.approx(0.75)


def test_pixels_that_do_not_count() -> None:
    """Neither as object nor as background; a cell of nothing else is as the whole image."""
    counted = ~rectangle(0, 0, 2, 2)
    counted[2, 2] = False
    shares = pointing.cell_shares(rectangle(0, 0, 4, 4), counted, 4, 4)
    assert float(shares[1, 1]) == 1.0 and float(shares[0, 1]) == 1.0
    assert float(shares[0, 0]) == pytest.approx(11 / 59)


def brute_force(one: torch.Tensor, objects: torch.Tensor, counted: torch.Tensor) -> float:
    places = [(i, j) for i in range(8) for j in range(8) if counted[i, j]]
    size = sum(bool(objects[place]) for place in places)
    highest = sorted(places, key=lambda place: -float(one[place]))[:size]
    both = sum(bool(objects[place]) for place in highest)
    return both / (2 * size - both)


def test_iou_is_a_brute_force_count() -> None:
    maps = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0))
    objects = torch.stack([rectangle(1, 0, 6, 5), rectangle(3, 3, 8, 8)])
    counted = ~rectangle(2, 2, 5, 4)
    found = pointing.iou(maps, objects, counted)
    expected = [[brute_force(one, each, counted) for each in objects] for one in maps]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_map_of_the_object_is_perfect() -> None:
    objects = rectangle(1, 0, 6, 5)
    maps = torch.stack([objects.float(), 1 - objects.float()])
    assert pointing.iou(maps, objects[None], ALL)[:, 0].tolist() == [1.0, 0.0]


def test_chance_is_what_pixels_drawn_at_random_have() -> None:
    objects = rectangle(0, 0, 32, 24, side=64)
    noise = torch.rand(400, 64, 64, generator=torch.Generator().manual_seed(0))
    found = pointing.iou(noise, objects[None], torch.ones(64, 64, dtype=torch.bool))
    assert float(found.mean()) == pytest.approx(float(pointing.chance_iou(torch.tensor([0.1875]))), abs=2e-3)


def test_the_sharpest_map_has_the_lowest_entropy() -> None:
    maps = torch.stack([torch.full((2, 2), 0.25), torch.tensor([[0.7, 0.1], [0.1, 0.1]]), torch.eye(2) / 2])
    assert pointing.sharpest(maps) == 2


def test_the_chosen_map_is_chosen_on_the_other_half() -> None:
    even = np.array([[0.1, 0.9, 0.0], [0.3, 0.7, 0.0]])
    odd = np.array([[0.8, 0.2, 0.0], [0.6, 0.4, 0.0]])
    values = np.stack([even[0], odd[0], even[1], odd[1]])
    found, maps = pointing.chosen(values)
    assert maps == (0, 1) and found.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_intervals_are_those_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    drawn = bootstrap.draws(400, 4000, 0)
    mean, low, high = bootstrap.interval(values, drawn)
    error = values.std(ddof=1) / 20
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert bootstrap.interval(np.full(400, 7.0), drawn) == (7, 7, 7)


def test_intervals_leave_out_what_is_no_number() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    mean, low, high = bootstrap.interval(values, bootstrap.draws(4, 500, 0))
    assert mean == 2 and low is not None and high is not None and 1 <= low <= high <= 3
    assert bootstrap.interval(np.full(4, np.nan), bootstrap.draws(4, 500, 0)) == (None, None, None)
