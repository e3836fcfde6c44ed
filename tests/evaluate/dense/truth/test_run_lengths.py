"""Run lengths are those that pycocotools reads; what is none is a ValueError."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as tool

from lewel.evaluate.dense.truth import run_lengths
from lewel.evaluate.dense.truth.outlines import read

H, W = 48, 64


def square() -> np.ndarray:
    mask = np.zeros((H, W), np.uint8)
    mask[5:20, 5:25] = 1
    return mask


def text(mask: np.ndarray) -> str:
    return tool.encode(np.asfortranarray(mask))["counts"].decode()


def runs(counts: Any, size: Any = (H, W)) -> dict[str, Any]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(H, W), (1, 1), (5, 7), (600, 801)])
def test_they_are_the_pixels_of_the_mask(shape: tuple[int, int], share: float) -> None:
    mask = (np.random.default_rng(0).random(shape) < share).astype(np.uint8)
    found = run_lengths.lengths(text(mask))
    run_lengths.check(found, shape, *shape)
    assert np.array_equal(np.repeat(np.arange(len(found)) % 2, found), mask.reshape(-1, order="F"))


def test_forms_that_are_read() -> None:
    plain = [H * 5 + 5, 15, H * W - H * 5 - 20]
    for given in (text(square()), text(square()).encode(), plain):
        outline, left_out = read(runs(given), H, W)
        assert isinstance(outline, dict) and isinstance(outline["counts"], str | list) and not left_out
    assert read(runs(plain, [float(H), float(W)]), H, W).outline == runs(plain)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (runs(str(text(square()).encode())), "other characters than COCO's"),  # b'...'
        (runs("hello world!!"), "other characters than COCO's"),
        (runs("dépassé"), "other characters than COCO's"),
        (runs(""), "no run lengths"),
        (runs(text(square())[:-1]), "pixels in an image|middle of a number"),
        (runs(text(square()) + "P"), "middle of a number"),
        (runs(text(square()) + "1"), r"a mask of \d+ pixels in an image of 64 x 48"),
        (runs("o" * 40 + "0"), "number that is too large"),
        (runs("O2"), "below 0"),
        (runs([H * W + 1, -1]), "neither text nor whole numbers"),
        (runs([0.5, H * W - 0.5]), "neither text nor whole numbers"),
        (runs([True, H * W - 1]), "neither text nor whole numbers"),
        (runs([float("nan"), 1]), "neither text nor whole numbers"),
        (runs([10**30]), "neither text nor whole numbers"),
        (runs(None), "neither text nor whole numbers"),
        (runs({"0": 1}), "neither text nor whole numbers"),
        (runs([]), "a mask of 0 pixels"),
        (runs([H * W - 1]), "a mask of 3071 pixels"),
        (runs([0, H * W], (W, H)), "a mask of 48 x 64 in an image of 64 x 48"),
        (runs([0, H * W], None), "without a size"),
        (runs([0, H * W], "4864"), "without a size"),
        (runs([0, H * W], [True, W]), "without a size"),
        (runs([0, H * W], [H, W, 3]), "without a size"),
        (runs([0, H * W], [H + 0.5, W]), "size that is not of whole numbers"),
        (runs([0, H * W], [float("nan"), W]), "size that is not of whole numbers"),
        (runs([0, H * W], [float("inf"), W]), "size that is not of whole numbers"),
        (runs([0, H * W], [-H, W]), "size that is not of whole numbers"),
        ({"counts": [0, H * W]}, "without a size"),
        ({"size": [H, W]}, "neither text nor whole numbers"),
    ],
)
def test_forms_that_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read(given, H, W)
    assert "\n" not in str(error.value)


def test_an_empty_mask_is_no_object() -> None:
    for counts in ([H * W], text(np.zeros((H, W), np.uint8))):
        assert read(runs(counts), H, W) == (None, "its mask is empty; object left out")


def test_no_text_is_an_error_of_another_kind() -> None:
    """Or a mask that pycocotools draws otherwise."""
    random = np.random.default_rng(0)
    good = text(square())
    for _ in range(300):
        given = list(good)
        for place in random.integers(0, len(given), random.integers(1, 4)):
            given[place] = chr(random.integers(32, 127))
        try:
            outline, _ = read(runs("".join(given)), H, W)
        except ValueError:
            continue
        if isinstance(outline, dict):
            lengths = run_lengths.lengths(outline["counts"])
            drawn = tool.decode({"size": [H, W], "counts": outline["counts"]})
            assert np.array_equal(np.repeat(np.arange(len(lengths)) % 2, lengths), drawn.reshape(-1, order="F"))
