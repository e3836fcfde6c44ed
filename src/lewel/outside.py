"""Parts that are defined in a user's own file: how such a file is imported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from lewel.errors import UserError

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
