"""The order of training images in evaluations."""

from __future__ import annotations

import numpy as np

from lewel.evaluate.order import Epochs


def test_an_epoch_is_every_image_once_the_last_batch_smaller():
    batches = list(Epochs(10, 4, 2, seed=0))
    assert [len(indices) for _, indices in batches] == [4, 4, 2, 4, 4, 2]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(index for _, indices in epoch for index in indices) == list(range(10))
    assert [step for step, _ in batches] == list(range(6))


def test_it_starts_anywhere():
    assert list(Epochs(10, 4, 3, seed=1, start_step=4)) == list(Epochs(10, 4, 3, seed=1))[4:]


def test_the_last_batch_is_filled_with_the_first_images():
    (_, first), (_, last) = Epochs(11, 8, 1, seed=0, multiple=4)
    assert (len(first), len(last)) == (8, 4)
    assert sorted([*first, *last[:3]]) == list(range(11)) and last[3] == first[0]


def test_classes_are_drawn_equally_often():
    classes = np.array([0] * 900 + [1] * 90 + [2] * 10)
    drawn = [index for _, indices in Epochs(1000, 100, 30, seed=0, classes=classes) for index in indices]
    shares = np.bincount(classes[drawn]) / len(drawn)
    assert abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / len(drawn))  # four standard errors
    rare = np.bincount(drawn, minlength=1000)[990:]
    assert abs(rare / len(drawn) - 1 / 30).max() < 4 * np.sqrt(29 / 900 / len(drawn))


def test_the_last_batch_has_a_least_number_of_images():
    (_, first), (_, last) = Epochs(9, 8, 1, seed=0, multiple=2, least=4)
    assert sorted([*first, *last[:1]]) == list(range(9)) and last[1:] == first[:3]
    assert [len(indices) for _, indices in Epochs(9, 8, 1, seed=0)] == [8, 1]
    assert [len(indices) for _, indices in Epochs(16, 8, 1, seed=0, multiple=2, least=4)] == [8, 8]
    assert [len(indices) for _, indices in Epochs(1, 8, 2, seed=0, multiple=4, least=8)] == [8, 8]
