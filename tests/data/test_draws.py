"""The parameters of a batch, drawn at once, are those that `augment.sample` draws one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lewel.config import View
from lewel.data import tensors
from lewel.data.augment import Parameters, sample
from lewel.data.draws import Draws, draw

VIEWS = {
    "lewel": View(scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), blur=0.1, solarize=0.2, vertical_flip=0.3),
    "strong": View(jitter=(1.5, 0.0, 0.8, 0.5), jitter_probability=1.0, gray=0.5, blur=1.0),
    "crops that hardly fit": View(scale=(0.9, 1.0), ratio=(0.4, 2.5)),
    "tiny crops": View(scale=(0.0001, 0.01)),
    "colours untouched": View(jitter=(0.0, 0.0, 0.0, 0.0), gray=0.0, blur=0.0),
}
SIZES = [(32, 32), (64, 64), (1000, 90), (20, 300), (3, 2), (1, 1)]
STREAMS = [(0, 0, 0), (7, 3, 1), (2**63 + 1, 10**6, 0), (-2, 5, 1)]  # seed, epoch, number of the view


def one_by_one(drawn: Draws, size: tuple[int, int]) -> list[Parameters]:
    return [
        Parameters(
            size=size,
            crop=tuple(drawn.crops[row].tolist()),
            output=32,
            flip=bool(drawn.flip[row]),
            vertical_flip=bool(drawn.vertical_flip[row]),
            jitter=tuple((drawn.jitter[number], float(drawn.strengths[row, number])) for number in drawn.order[row])
            if drawn.jittered[row]
            else (),
            gray=bool(drawn.gray[row]),
            blur=float(drawn.blur[row]),
            solarize=bool(drawn.solarize[row]),
        )
        for row in range(len(drawn.crops))
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_they_are_those_of_sample(name: str) -> None:
    view, rng = VIEWS[name], np.random.default_rng(0)
    for size in SIZES:
        for seed, epoch, number in STREAMS:
            indices = rng.integers(0, 10**7, 60).tolist()
            drawn = draw(view, size, seed, epoch, indices, number)
            expected = [sample(view, size, 32, seed, epoch, index, number) for index in indices]
            assert one_by_one(drawn, size) == expected
            assert drawn.geometry(size).tolist() == [[*each.geometry()] for each in expected]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("count", [1, 2, 9, 200])
def test_colours_are_those_of_the_parameters(name: str, count: int) -> None:
    """Small batches too, where operations have one row or none."""
    view = replace(VIEWS[name], blur_sigma=(0.1, 1.5))
    ours = draw(view, (32, 32), 1, 2, range(count), 0).colours(2.0)
    theirs = tensors.colours_of([sample(view, (32, 32), 32, 1, 2, index, 0) for index in range(count)], 2.0)
    assert ours.steps == theirs.steps
    assert all(torch.equal(our, their) for our, their in zip(ours[1:], theirs[1:], strict=True))
