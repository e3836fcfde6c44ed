"""Dataclasses that check their own values, and the open parts of a recipe: kinds that anyone can define.

A wrong field is a `TypeError` where it is written, as for every dataclass. A wrong value is a `UserError` that names
the field, the value and what is allowed, from Python as from a file.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from lewel.errors import UserError


class Limit(NamedTuple):
    """What a number must satisfy, and the same in words."""

    holds: Callable[[Any], bool]
    text: str


Positive = Annotated[int, Limit(lambda value: value >= 1, "1 or more")]
WholeNumber = Annotated[int, Limit(lambda value: value >= 0, "0 or more")]
AboveZero = Annotated[float, Limit(lambda value: 0 < value < math.inf, "more than 0")]
NotNegative = Annotated[float, Limit(lambda value: 0 <= value < math.inf, "0 or more")]
BelowOne = Annotated[float, Limit(lambda value: 0 <= value < 1, "0 to less than 1")]


class Checked:
    """Base of a frozen dataclass: every value is held against its annotation when an object is made.

    `Annotated[int, Limit(...)]` limits a number. Raises UserError: a value of another type, or outside its limits.
    """

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            problem = _problem(hint, getattr(self, name))
            if problem:
                raise UserError(f"{type(self).__name__}: {name} {getattr(self, name)!r}: must be {problem}")


class Kind(Checked):
    """Base of the open parts: a direct subclass is a role, such as `Maps`, and each subclass of the role is a kind.

    A kind is a frozen dataclass with a `build`. Its objects are plain data, and their modules are made by `build`.
    """


@cache
def hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, evaluated, limits included."""
    found = typing.get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(typing.cast(Any, kind))}


def bare(hint: Any) -> Any:
    """The type of a hint, without its limits."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def is_union(hint: Any) -> bool:
    """Whether it is X | Y."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _problem(hint: Any, value: Any) -> str:
    """What the value must be, in words; '' where it fits."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return _problem(arguments[0], value) or next(
            (limit.text for limit in arguments[1:] if _breaks(limit, value)), ""
        )
    if is_union(hint):
        problems = [_problem(each, value) for each in arguments]
        return "" if "" in problems else " or ".join(problems)
    if typing.get_origin(hint) is Literal:
        return "" if value in arguments else f"one of {', '.join(map(str, arguments))}"
    if typing.get_origin(hint) is tuple:
        return _tuple_problem(arguments, value)
    return "" if _is_a(hint, value) else _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _tuple_problem(hints: tuple[Any, ...], value: Any) -> str:
    if not isinstance(value, tuple):
        return "a tuple"
    each = (hints[0],) * len(value) if hints[-1] is Ellipsis else hints
    if len(each) != len(value):
        return f"a tuple of {len(each)}"
    problems = (_problem(hint, item) for hint, item in zip(each, value, strict=True))
    return next((f"a tuple, each {problem}" for problem in problems if problem), "")


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}


def _is_a(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _breaks(limit: Any, value: Any) -> bool:
    return isinstance(limit, Limit) and not limit.holds(value)
