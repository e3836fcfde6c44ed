"""Masks as run lengths: how many pixels are 0, then 1, then 0, ..., down the columns.

A list of numbers, or COCO's text: each number, from the fourth on its difference to the one two before, in groups of
five bits, the lowest first. A character is 48 more than its group, and 32 more again unless it is the number's last;
the highest bit of the last group is the sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int64

_FIRST, _MORE, _SIGN, _BITS = 48, 32, 16, 5
_LONGEST = 10  # characters of a number: 50 bits, far more than an image has pixels
_NEITHER = "run lengths that are neither text nor whole numbers"


def lengths(counts: Any) -> Int64[np.ndarray, " runs"]:
    """The run lengths. Raises ValueError for what is neither text nor whole numbers of 0 or more."""
    if isinstance(counts, list):
        if not all(type(each) is int and 0 <= each < 2**62 for each in counts):
            raise ValueError(_NEITHER)
        return np.array(counts, np.int64)
    if not isinstance(counts, str):
        raise ValueError(_NEITHER)
    if not counts.isascii():
        raise ValueError("run lengths with other characters than COCO's")
    return _decoded(np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _FIRST)


def size(given: Any) -> tuple[int, int]:
    """Height and width. Raises ValueError for what is none."""
    if not isinstance(given, list) or len(given) != 2 or not all(type(each) in (int, float) for each in given):
        raise ValueError("run lengths without a size of height and width")
    if not all(float(each).is_integer() and each > 0 for each in given):
        raise ValueError("run lengths with a size that is not of whole numbers")
    return int(given[0]), int(given[1])


def check(runs: Int64[np.ndarray, " runs"], size: tuple[int, int], height: int, width: int) -> None:
    """Raises ValueError for those of another size than the image, and those that do not fill it."""
    if size != (height, width):
        raise ValueError(f"a mask of {size[1]} x {size[0]} in an image of {width} x {height}")
    if (total := sum(runs.tolist())) != height * width:
        raise ValueError(f"a mask of {total} pixels in an image of {width} x {height}")


def _decoded(groups: Int64[np.ndarray, " characters"]) -> Int64[np.ndarray, " runs"]:
    if ((groups < 0) | (groups > 63)).any():
        raise ValueError("run lengths with other characters than COCO's")
    last = (groups & _MORE) == 0
    if not len(groups) or not last[-1]:
        raise ValueError("run lengths that end in the middle of a number" if len(groups) else "no run lengths")
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    digits = ends - starts + 1
    if digits.max() > _LONGEST:
        raise ValueError("run lengths with a number that is too large")
    places = np.arange(len(groups)) - np.repeat(starts, digits)
    numbers = np.add.reduceat((groups & (_MORE - 1)) << (_BITS * places), starts)
    numbers -= np.where(groups[ends] & _SIGN, 1 << (_BITS * digits), 0)
    for first in (1, 2):  # each is told by its difference to the one two before; the first two and the third are not
        numbers[first::2] = np.cumsum(numbers[first::2])
    if (numbers < 0).any():
        raise ValueError("run lengths below 0")
    return numbers
