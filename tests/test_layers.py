"""Imports go down only, and what `lewel --help` needs imports no torch. Read from the syntax trees: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "lewel"
LAYERS = (
    {"errors", "terminal", "console", "shapes", "lifeline", "parallel", "config", "version"}
    | {"lines", "reading", "checked", "outside", "keywords"},
    {"model", "data"},
    {"engine", "terms"},
    {"recipes", "plan"},
    {"loggers"},
    {"build"},
    {"footprint"},
    {"interop"},
    {"evaluate", "visualize", "bench", "prepare"},
    {"callbacks", "agreement", "run"},
    {"pretrain", "demo"},
    {"api"},
    {"help"},
    {"cli", "arguments"},
    {"__main__"},
)
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}
APART = {("model", "data"), ("data", "model"), ("engine", "model"), ("engine", "data")}
APART |= {("engine", "terms"), ("terms", "engine"), ("terms", "data")}
LIGHT = (
    "errors",
    "terminal",
    "checked",
    "outside",
    "config",
    "terms",
    "recipes",
    "plan",
    "help",
    "keywords",
    "api",
    "cli",
    "arguments",
)
HEAVY = {"torch", "torchvision", "timm", "matplotlib", "lightning"}


def module_name(path: Path) -> str:
    """src/lewel/model/maps.py -> lewel.model.maps"""
    parts = ("lewel", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def statements(tree: ast.AST, at_import_only: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements; `at_import_only` leaves out those that do not run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif at_import_only and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from (found for other in node.orelse for found in statements(ast.Module([other], []), True))
        else:
            yield from statements(node, at_import_only)


def imports(source: str, name: str, is_package: bool, at_import_only: bool = False) -> set[str]:
    """Full names of what a module imports: of `from a import b` it is a.b where that is a module, else a."""
    found = set()
    for node in statements(ast.parse(source), at_import_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            package = name.split(".") if is_package else name.split(".")[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
        found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return found


def imports_of(name: str, at_import_only: bool = False) -> set[str]:
    path = MODULES[name]
    return imports(path.read_text(encoding="utf-8"), name, path.name == "__init__.py", at_import_only)


def part(name: str) -> str | None:
    """lewel.model.maps -> model; None for the package itself and for what is not ours."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "lewel" and len(pieces) > 1 else None


def goes_up(importer: str, imported: str) -> bool:
    if importer == imported:
        return False
    return HEIGHT[imported] > HEIGHT[importer] or (importer, imported) in APART


def test_every_module_has_a_layer() -> None:
    assert {part(name) for name in MODULES} - {None} <= set(HEIGHT)


def test_imports_go_down() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in MODULES
        if (importer := part(name))
        for other in sorted(imports_of(name))
        if (imported := part(other)) and goes_up(importer, imported)
    ]
    assert not wrong


def test_nothing_imports_through_the_package_root() -> None:
    """`from lewel import method` would hide where it comes from, and run upwards unseen."""
    assert not [name for name in MODULES if name != "lewel" and "lewel" in imports_of(name)]


def loaded_with(name: str) -> set[str]:
    """Everything that importing a module imports: itself, its packages, and theirs, as far as they are ours."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        pieces = current.split(".")
        waiting += [".".join(pieces[:end]) for end in range(1, len(pieces))]
        if current in MODULES:
            waiting += imports_of(current, at_import_only=True)
    return seen


@pytest.mark.parametrize("name", [name for name in MODULES if part(name) in LIGHT])
def test_light_modules_import_no_torch(name: str) -> None:
    assert not loaded_with(name) & HEAVY


@pytest.mark.parametrize(
    ("importer", "imported", "expected"),
    [
        ("model", "config", False),
        ("config", "model", True),
        ("model", "data", True),
        ("engine", "model", True),
        ("build", "engine", False),
        ("terms", "model", False),
        ("model", "terms", True),
        ("demo", "pretrain", False),
        ("evaluate", "cli", True),
    ],
)
def test_the_rule_itself(importer: str, imported: str, expected: bool) -> None:
    assert goes_up(importer, imported) is expected


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def late():\n    from ..data import loader\n"
        "try:\n    from lewel import errors\nexcept ImportError:\n    pass\n"
    )
    everything = imports(source, "lewel.model.maps", is_package=False)
    assert {"typing", "torch", "lewel.errors"} < everything
    assert {part(other) for other in everything} >= {"data", "errors"}
    assert imports(source, "lewel.model.maps", is_package=False, at_import_only=True) == {"typing", "lewel.errors"}
