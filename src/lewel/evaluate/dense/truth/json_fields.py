"""Values of JSON files that anything may have written, checked one by one.

Python's JSON reads NaN and Infinity, takes true for 1 and text for text: each function says what it takes instead.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any

from lewel.data.decode import PIXEL_LIMIT
from lewel.terminal import printable

Id = int | float | str


def shown(value: Any) -> str:
    """A value for a message, shortened: `'cat'`, `nan`, `None`, `[1, 2, ...]`."""
    return printable(reprlib.repr(value))


def is_id(value: Any) -> bool:
    """Numbers and text tell things apart; true is 1, and NaN is not itself."""
    return type(value) in (int, str) or (type(value) is float and math.isfinite(value))


def number(value: Any) -> float:
    """Raises ValueError for what is none; NaN and infinities are."""
    if type(value) not in (int, float):
        raise ValueError(f"{shown(value)}, which is no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number that is too large") from None


def positive(value: Any) -> float | None:
    """A finite number above 0, else None."""
    if type(value) not in (int, float) or not 0 < value < 1e300:
        return None
    return float(value)


def side(value: Any) -> int | None:
    """Pixels of an image's side; None for what can be none."""
    found = positive(value)
    return int(found) if found is not None and found.is_integer() and found <= PIXEL_LIMIT else None


def text(value: Any) -> str | None:
    """Text that is not empty and can be written as UTF-8 or as a file's name; numbers too, as text; else None."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return None
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None
    return value


def flag(value: Any) -> bool | None:
    """0 and 1, which may be false and true, and text; None for anything else."""
    if isinstance(value, bool | int | float):
        return bool(value) if value in (0, 1) else None
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


_FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
