"""Parts that are defined in a user's own file: how such a file is imported, and how its classes are named in text.

A class of this package is named by its own name in small letters, `in_batch`; another one by where it lies:
`/home/me/own_maps.py:Stripes`, or `package.module:Stripes` where it can be imported.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lewel.errors import UserError, nearest

_FILES = "lewel_file_"  # begins the names under which users' files are imported
_loaded: dict[tuple[str, int, int], ModuleType] = {}


def module(path: Path, what: str) -> ModuleType:
    """A Python file, imported under a name of its own, once for each version of its content.

    what: how messages call it.   Raises UserError: no such file, or one that fails.
    """
    import importlib.util

    if not path.is_file():
        raise UserError(f"{what} file {path} does not exist")
    whole, state = path.resolve(), path.stat()
    key = (str(whole), state.st_mtime_ns, state.st_size)
    if key in _loaded:
        return _loaded[key]
    name = f"{_FILES}{len(_loaded)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made  # dataclasses and pickling look a module up by its name
    try:
        spec.loader.exec_module(made)
    except Exception as error:
        raise UserError(f"{what} file {path} failed: {type(error).__name__}: {error}") from error
    _loaded[key] = made
    return made


def kind_name(kind: type) -> str:
    """How a class is written in config.yaml: `find` gives it back. Raises UserError where no file defines it."""
    home = kind.__module__
    if home.startswith("lewel."):
        return _small(kind.__name__)
    if home == "__main__" or home.startswith(_FILES):
        path = getattr(sys.modules[home], "__file__", None)
        if path is None:
            raise UserError(f"{kind.__name__} is defined in no file, so no run could go on with it; put it into one")
        return f"{Path(path).resolve().as_posix()}:{kind.__qualname__}"
    return f"{home}:{kind.__qualname__}"


def find(text: Any, home: ModuleType, role: type, where: str) -> type:
    """The class that `kind_name` wrote: one of the module `home`, or of a user's file.

    role: what it must be a subclass of, or have the methods of.   where: begins messages.   Raises UserError.
    """
    if not isinstance(text, str) or not text:
        raise UserError(f"{where}: expected the name of a kind, got {text!r}")
    place, colon, name = text.rpartition(":")
    if not colon:
        kinds = kinds_in(home, role)
        if text not in kinds:
            near = nearest(text, kinds) or f"; there are {', '.join(kinds)}, and FILE.py:NAME is one too"
            raise UserError(f"{where}: no kind {text!r}{near}")
        return kinds[text]
    found = getattr(_imported(place, where), name, None)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found) and _plays(found, role)):
        raise UserError(f"{where}: {text} is no frozen dataclass of the kind {role.__name__}")
    return found


def kinds_in(home: ModuleType, role: type) -> dict[str, type]:
    """The kinds of a role that a module of this package defines, by their names in text."""
    return {
        _small(name): value
        for name, value in vars(home).items()
        if isinstance(value, type) and value.__module__ == home.__name__ and value is not role and _plays(value, role)
    }


def _plays(kind: type, role: type) -> bool:
    if getattr(role, "_is_protocol", False):
        return dataclasses.is_dataclass(kind) and callable(getattr(kind, "build", None))
    return issubclass(kind, role)


def _imported(place: str, where: str) -> ModuleType:
    import importlib

    if place.endswith(".py"):
        return module(Path(place), f"{where}:")
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise UserError(f"{where}: {place!r} cannot be imported: {type(error).__name__}: {error}") from error


def _small(name: str) -> str:
    """InBatch -> in_batch."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
