"""The rate is chosen on a part of train, by the number that the task is ranked by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lewel.errors import DivergenceError, UserError
from lewel.evaluate import lr_search
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.lr_search import candidates, held_out, search
from lewel.evaluate.parts import Divided

PROTOCOL = get_protocol("segment-voc", Changes(iterations=1000))


class Numbers:
    """A part of a data set."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, indices: np.ndarray) -> Numbers:
        return Numbers(self.values[indices])

    def facts(self) -> dict[str, Any]:
        return {"digest": str(self.values.tolist())}


def test_candidates_have_a_part_of_the_schedule() -> None:
    found = candidates(PROTOCOL)
    assert list(found) == pytest.approx([0.005, 0.01, 0.02, 0.04])
    for rate, protocol in found.items():
        task = protocol.task
        assert isinstance(task, Segmentation)
        assert (task.lr, task.iterations, task.evaluations) == (rate, 250, 1)
        assert task.lr_last == pytest.approx(rate / 100)


def test_val_is_never_looked_at() -> None:
    data = Divided(Numbers(range(10)), Numbers(range(100, 110)), {"data": "here", "classes": 3})
    found = held_out(data, seed=0)
    assert len(found.val) == 2 and sorted([*found.train.values, *found.val.values]) == list(range(10))
    assert found.facts["val"] != data.val.facts() and found.facts["split"]["share"] == 0.2
    assert held_out(data, seed=0).facts == found.facts != held_out(data, seed=1).facts
    with pytest.raises(UserError, match="has 2 images; give --lr instead"):
        held_out(Divided(Numbers([1, 2]), Numbers([3]), {}), seed=0)


@pytest.mark.parametrize(("more", "chosen"), [(True, 0.02), (False, 0.005)])
def test_the_best_rate_is_taken(more: bool, chosen: float) -> None:
    values = dict(zip(candidates(PROTOCOL), (30.0, 40.0, 50.0, 50.0), strict=True))
    found = search(PROTOCOL, ("mIoU", more), lambda rate, _: {"mIoU": values[rate]})
    task = found.protocol.task
    assert isinstance(task, Segmentation) and task.lr == found.facts["chosen"] == pytest.approx(chosen)
    assert task.iterations == 1000 and task.lr_last == pytest.approx(chosen / 100)
    assert found.protocol.name == f"segment-voc[iterations=1000,lr_search,lr={chosen:g}]"
    assert found.facts["tried"] == {f"{rate:g}": value for rate, value in values.items()}


def test_rates_that_diverge_are_no_choice() -> None:
    def measured(rate: float, _: Any) -> dict[str, Any]:
        if rate > limit:
            raise DivergenceError("not finite")
        return {"mIoU": rate}

    limit = 0.015
    found = search(PROTOCOL, ("mIoU", True), measured)
    assert found.facts["chosen"] == 0.01 and found.facts["tried"]["0.04"] is None
    assert lr_search.told(found.facts).endswith(": 0.005: 0.01, 0.01: 0.01, 0.02: diverged, 0.04: diverged.")
    limit = 0.0
    with pytest.raises(UserError, match=r"no rate of 0\.005, 0\.01, 0\.02, 0\.04 trains; give a lower --lr"):
        search(PROTOCOL, ("mIoU", True), measured)


def test_a_rate_that_is_given_is_the_middle() -> None:
    protocol = get_protocol("segment-voc", Changes(lr=0.1))
    assert list(candidates(protocol)) == pytest.approx([0.05, 0.1, 0.2, 0.4])
    found = lr_search.search(protocol, ("mIoU", True), lambda rate, _: {"mIoU": -rate})
    assert found.protocol.name == "segment-voc[lr_search,lr=0.05]"


def test_a_number_that_is_none_is_no_choice() -> None:
    values = dict(zip(candidates(PROTOCOL), (float("nan"), 5.0, 4.0, None), strict=True))
    found = search(PROTOCOL, ("NME", False), lambda rate, _: {"NME": values[rate]})
    assert found.facts["chosen"] == pytest.approx(0.02) and list(found.facts["tried"].values()) == [
        None,
        5.0,
        4.0,
        None,
    ]
    with pytest.raises(UserError, match="gives AP: the held out part is too small; give --lr"):
        search(PROTOCOL, ("AP", True), lambda rate, _: {"AP": float("nan")})


def test_what_was_chosen_is_one_of_the_outcomes() -> None:
    found = search(PROTOCOL, ("mIoU", True), lambda rate, _: {"mIoU": -rate})
    assert lr_search.outcomes(PROTOCOL)[0.005] == found.protocol
    assert list(lr_search.outcomes(PROTOCOL)) == list(candidates(PROTOCOL))
