"""The worst images come first, and what is right in them is counted as VOC counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lewel.evaluate.dense.detection.cases import Outcome, cases, outcome
from lewel.evaluate.dense.detection.found import Found, run_lengths
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated

SIZE = (100, 50)


def at(number: int) -> list[float]:
    return [10.0 * number, 0, 10.0 * number + 8, 8]


def shown(boxes: list, name: str = "a", path: Path = Path(), **changes: Any) -> Annotated:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    none = np.zeros(len(rows), bool)
    plain = {"labels": np.zeros(len(rows), np.int64), "crowd": none, "difficult": none}
    return Annotated(name, path, SIZE, rows, **{**plain, "areas": np.ones(len(rows)), **changes})


def found(boxes: list, scores: list[float] | None = None, labels: list[int] | None = None) -> Found:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    numbers = np.array(labels or [0] * len(rows), np.int64)
    return Found(rows, np.array(scores or [0.9] * len(rows), np.float64), numbers)


@pytest.mark.parametrize(
    ("boxes", "guesses", "expected"),
    [
        ([at(0), at(1)], found([at(0), at(1)]), (2, 0, 2)),
        ([at(0), at(1)], found([at(0), at(0)]), (1, 1, 2)),
        ([at(0)], found([at(0), at(3)], [0.9, 0.4]), (1, 0, 1)),
        ([at(0)], found([at(0)], labels=[1]), (0, 1, 1)),
        ([at(0)], found([]), (0, 0, 1)),
        ([], found([at(0)]), (0, 1, 0)),
        ([], found([]), (0, 0, 0)),
    ],
)
def test_what_is_right(boxes: list, guesses: Found, expected: tuple[int, int, int]) -> None:
    assert outcome(shown(boxes), guesses) == expected


def test_f1() -> None:
    assert Outcome(1, 1, 2).f1 == 0.5 and Outcome(0, 0, 0).f1 == 1 and Outcome(0, 3, 0).f1 == 0
    assert Outcome(1, 1, 2).text() == "F1 0.50: 1 of 2 found, 1 wrong" and Outcome(1, 1, 2).mistakes == 2


def test_crowds_and_difficult_objects_are_left_aside() -> None:
    crowd = shown([[0, 0, 60, 40], at(8)], crowd=np.array([True, False]))
    assert outcome(crowd, found([at(0), at(1), at(8), at(9)])) == (1, 1, 1)
    hard = shown([at(0), at(8)], difficult=np.array([True, False]))
    assert outcome(hard, found([at(0), at(0), at(8)])) == (1, 0, 1)


def test_the_worst_come_first_and_files_that_are_gone_do_not(tmp_path: Path) -> None:
    images, guesses = [], []
    for name, right, wrong in (("good", 2, 0), ("bad", 0, 1), ("worst", 0, 4), ("gone", 0, 5), ("half", 1, 1)):
        Image.new("RGB", SIZE).save(tmp_path / f"{name}.png")
        mask = np.zeros((2, SIZE[1], SIZE[0]), bool)
        outlines = tuple({**each, "counts": each["counts"].decode()} for each in run_lengths(mask))
        images.append(shown([at(0), at(1)], name, tmp_path / f"{name}.png", outlines=outlines))
        boxes = [*(at(number) for number in range(right)), *(at(number + 3) for number in range(wrong))]
        masks = run_lengths(np.ones((len(boxes), SIZE[1], SIZE[0]), bool))
        guesses.append(found(boxes)._replace(masks=masks))
    (tmp_path / "gone.png").unlink()
    val = Annotations("", "val", ("thing",), Images.of(images), (), 0)
    chosen = cases(val, guesses, 3)
    assert [case.name for case in chosen] == ["worst", "bad", "half"]
    assert chosen[2].score == "F1 0.50: 1 of 2 found, 1 wrong"
    assert [case.name for case in cases(val, guesses, 99)] == ["worst", "bad", "half", "good"]
    assert chosen[0].truth.size == chosen[0].prediction.size == (420, 210)
    assert np.asarray(chosen[0].prediction)[180, 400].any() and not np.asarray(chosen[0].truth)[180, 400].any()


def test_of_unsure_detections_the_best_are_shown(tmp_path: Path) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    val = Annotations("", "val", ("thing",), Images.of([shown([at(0)], "a", tmp_path / "a.png")]), (), 0)
    unsure = found([at(number) for number in range(8)], np.linspace(0.1, 0.4, 8).tolist())
    picture = np.asarray(cases(val, [unsure], 1)[0].prediction)
    assert not picture[:, : 5 * 42 - 45].any() and picture[:, 5 * 42 :].any()
