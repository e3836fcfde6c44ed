"""Recipes: functions that return a `config.Recipe`, named METHOD_SETTING: `recipes.lewel_b_tiny()`.

Each docstring says which row of the paper it is, the command, its cost, the published number and the measured one.
A recipe of one's own is a function in a file: `get("my_recipes.py:wide")`. A run's recipe is in its directory:
`get("runs/a")`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lewel import outside
from lewel.config import Recipe
from lewel.errors import UserError, nearest
from lewel.recipes import config_file

OTHERS = "FILE.py:FUNCTION or a run directory"  # what stands for a recipe beside its name
SETTINGS = ("in1k", "in100", "cifar10", "px64", "tiny", "demo", "folder")

# a file of this folder with recipes lists them in its __all__
_MODULES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
_RECIPES: dict[str, Callable[[], Recipe]] = {
    name: getattr(module, name) for module in _MODULES for name in getattr(module, "__all__", ())
}
globals().update(_RECIPES)


class Row(NamedTuple):
    """One line of `lewel recipes`."""

    name: str
    method: str
    setting: str
    epochs: int
    batch_size: int
    image_size: int
    note: str
    paper: str


def names() -> list[str]:
    """All recipes, by setting, then by method."""
    return sorted(_RECIPES, key=lambda name: (SETTINGS.index(_split(name)[1]), name))


def describe() -> list[Row]:
    """The table that `lewel recipes` prints."""
    return [_row(name) for name in names()]


def facts(name: str) -> dict[str, str]:
    """What a recipe's docstring says, by the words Paper, Command, Cost, Expected, Measured.

    Raises UserError where there is no such recipe.
    """
    if not isinstance(name, str) or name not in _RECIPES:
        raise _unknown(str(name))
    lines = (inspect.getdoc(_RECIPES[name]) or "").splitlines()
    pairs = (line.split(": ", 1) for line in lines if ": " in line)
    return {key: text for key, text in pairs if key in ("Paper", "Command", "Cost", "Expected", "Measured")}


def get(name: str | Recipe) -> Recipe:
    """The recipe of that name, what `FILE.py:FUNCTION` returns, or that of a run: its directory or its config.yaml.

    A `Recipe` is itself.

    Raises UserError: no such recipe (with the nearest name), file or function; a file that fails; another return value;
    no run there, or a config.yaml that this lewel cannot read.
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        raise UserError(f"{name!r} is no name of a recipe; `lewel recipes` lists all; {OTHERS} will do too")
    if name in _RECIPES:
        return _RECIPES[name]()
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), function)
    if name.endswith(".py"):
        raise UserError(f"recipe {name!r} names a file but no function in it: write {name}:FUNCTION")
    if os.path.isdir(name):  # as Path has it, a name that is too long would be an error
        return config_file.of_run(Path(name))
    if name.endswith((".yaml", ".yml")):
        return config_file.read(Path(name))
    raise _unknown(name)


def _unknown(name: str) -> UserError:
    near = nearest(name, _RECIPES) or ";"
    return UserError(f"no recipe {name!r}{near} `lewel recipes` lists all; {OTHERS} will do too")


def _from_file(path: Path, function: str) -> Recipe:
    make = getattr(outside.module(path, "recipe"), function, None)
    if not callable(make):
        raise UserError(f"recipe {path}:{function}: {path} defines no function {function!r}")
    try:
        recipe = make()
    except Exception as error:
        raise UserError(f"recipe {path}:{function} failed: {type(error).__name__}: {error}") from error
    if not isinstance(recipe, Recipe):
        raise UserError(f"recipe {path}:{function} returned {type(recipe).__name__}, not lewel.config.Recipe")
    return recipe


def _split(name: str) -> tuple[str, str]:
    """METHOD_SETTING[_EPOCHS] -> method, setting."""
    for setting in SETTINGS:
        method, found, _ = name.partition(f"_{setting}")
        if found:
            return method, setting
    raise AssertionError(f"the recipe {name} has no known setting")


def _row(name: str) -> Row:
    recipe = _RECIPES[name]()
    method, setting = _split(name)
    paper = facts(name).get("Paper", "")
    batch, size = recipe.optimizer.batch_size, recipe.data.image_size
    return Row(name, method, setting, recipe.epochs, batch, size, recipe.note, "" if paper == "none" else paper)
