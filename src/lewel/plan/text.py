"""A recipe as text: `config.yaml`, which reads back to an equal recipe, and the fingerprint that tells two apart."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from lewel import reading
from lewel.config import Recipe
from lewel.errors import UserError, nearest


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 (hex) of all that decides the numbers: the recipe without its `note`, as canonical JSON."""
    import hashlib  # here, because it takes a tenth of the time until --help answers

    plain = dataclasses.asdict(recipe)
    del plain["note"]
    return hashlib.sha256(json.dumps(_canonical(plain), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_yaml(recipe: Recipe) -> str:
    """All fields, in the order of `config.py`."""
    import yaml

    return yaml.safe_dump(_lists(dataclasses.asdict(recipe)), sort_keys=False, allow_unicode=True, width=120)


def read(path: Path) -> Recipe:
    """The recipe in a run's config.yaml. Raises UserError as `from_yaml`, and for no regular file or not UTF-8."""
    return from_yaml(reading.read_text(path, "restore it, or give another run"), str(path))


def from_yaml(text: str, where: str = "config.yaml") -> Recipe:
    """The recipe that `to_yaml` wrote. Raises UserError: not YAML, an unknown or missing key, another type of value."""
    import yaml

    try:
        plain = yaml.safe_load(text)
    except Exception as error:  # of a value that is not its tag's, any: `!!int ''` is an IndexError
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    return _read(Recipe, plain, where)


def _canonical(value: Any) -> Any:
    """Every number as a float: a recipe's `lr=1` and `lr=1.0` are equal, and so must their fingerprints be."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _lists(value: Any) -> Any:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _read(kind: Any, value: Any, where: str) -> Any:
    """The value as the type that a field of `config.py` declares."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is typing.Literal:
        if value in arguments and isinstance(value, str):
            return value
        raise UserError(f"{where}: {value!r} is not one of {', '.join(arguments)}")
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    hint = " (YAML reads 1e-6 as text; write 1.0e-6)" if kind is float and isinstance(value, str) else ""
    raise UserError(f"{where}: expected {kind.__name__}, got {value!r}{hint}")


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected the fields of {kind.__name__}, got {value!r}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), hints)}")
    missing = [key for key in hints if key not in value]
    if missing:
        raise UserError(f"{where}: missing key {missing[0]!r}")
    return kind(**{key: _read(hint, value[key], f"{where}: {key}") for key, hint in hints.items()})


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """X | None, or a Head | the name of a term."""
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if isinstance(value, str) and str in rest:
        return value
    return _read(next(kind for kind in rest if kind is not str or len(rest) == 1), value, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """tuple[X, ...] of any length, or tuple[X, Y] of that length."""
    if not isinstance(value, list):
        raise UserError(f"{where}: expected a list, got {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise UserError(f"{where}: expected {len(kinds)} values, got {len(value)}")
    return tuple(_read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))
