"""config.yaml: a recipe as text that reads back to an equal recipe, in this lewel and in later ones.

The file holds every field, so a later default does not change it. A field that is absent, because it is newer than the
file, takes its default: a new field needs a default under which older runs train as they did. Any other change of the
fields gets a new format number and an entry in `_UPGRADES`.

    format 2    the fields of `config.Recipe`, nested as its dataclasses are; a kind (maps, head, objective, target,
                method) has its name under `kind`: that of a kind of this package, or FILE.py:NAME
    format 1    each part had the fields of all kinds (`recipes.format_1`); files without a number are of format 1

Checkpoints hold the same content (`to_dict`), so they are upgraded in the same way.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lewel import outside, reading
from lewel.checked import Kind, bare, hints, is_union
from lewel.config import BuildsMethod, Recipe
from lewel.errors import UserError, nearest
from lewel.recipes import format_1
from lewel.terms import method as methods

NAME = "config.yaml"
FORMAT = 2

_Content = dict[str, Any]
# number n: content of format n, to that of format n + 1
_UPGRADES: dict[int, Callable[[_Content], _Content]] = {1: format_1.upgraded}


def to_dict(recipe: Recipe) -> _Content:
    """All fields, in the order of `config.py`, as plain values and lists; first the format number."""
    return {"format": FORMAT, **_plain(recipe)}


def from_dict(content: object, where: str) -> Recipe:
    """Rebuild the recipe that `to_dict` of this lewel or an older one took apart.

    Args:
        content: what a file holds
        where: the file, as messages name it

    Raises:
        UserError: a newer format, an unknown field, no value for a field without a default, a value of another type.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: expected the fields of Recipe, got {content!r}")
    fields = dict(content)
    number = fields.pop("format", 1)
    reading.check_format(Path(where), number, FORMAT)
    for older in range(number, FORMAT):
        fields = _UPGRADES[older](fields)
    return _read(Recipe, fields, where)


def to_yaml(recipe: Recipe) -> str:
    """The text of config.yaml."""
    import yaml

    return yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True, width=120)


def from_yaml(text: str, where: str = NAME) -> Recipe:
    """The recipe that `to_yaml` wrote. Raises UserError as `from_dict`, and for text that is not YAML."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except Exception as error:  # of a value that is not its tag's, any: `!!int ''` is an IndexError
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    return from_dict(content, where)


def read(path: Path) -> Recipe:
    """The recipe in a run's config.yaml. Raises UserError as `from_yaml`, and for no regular file or not UTF-8."""
    return from_yaml(reading.read_text(path, "restore it, or give another run"), str(path))


def of_run(directory: Path) -> Recipe:
    """The recipe of a run directory. Raises UserError as `read`, and for a directory of another kind."""
    path = directory / NAME
    if not path.exists():
        raise UserError(f"{directory} is no run: it has no {NAME}; give the --out directory of `lewel pretrain`")
    return read(path)


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, kinds with their names; tuples as lists: YAML has no tuples."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    is_kind = isinstance(value, Kind | BuildsMethod)
    return ({"kind": outside.kind_name(type(value))} if is_kind else {}) | fields


def _read(kind: Any, value: Any, where: str) -> Any:
    """The value as the type that a field of a dataclass declares."""
    kind = bare(kind)
    if _is_role(kind):
        return _read_kind(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_union(kind):
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


def _is_role(kind: Any) -> bool:
    return kind is BuildsMethod or (isinstance(kind, type) and kind.__bases__ == (Kind,))


def _read_kind(role: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict) or "kind" not in value:
        raise UserError(f"{where}: expected a kind and its fields, got {value!r}")
    home = methods if role is BuildsMethod else sys.modules[role.__module__]
    kind = outside.find(value["kind"], home, role, where)
    return _read_dataclass(kind, {key: item for key, item in value.items() if key != "kind"}, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected the fields of {kind.__name__}, got {value!r}")
    allowed = hints(kind)
    for key in value:
        if key not in allowed:
            near = nearest(str(key), allowed) or ";"
            raise UserError(
                f"{where}: unknown key {key!r}{near} pip install --upgrade lewel if a newer one wrote it, or remove it"
            )
    for field in dataclasses.fields(kind):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if field.name not in value and not has_default:
            raise UserError(f"{where}: missing key {field.name!r}, which has no default; restore it")
    fields = {key: _read(allowed[key], given, f"{where}: {key}") for key, given in value.items()}
    try:
        return kind(**fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


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
