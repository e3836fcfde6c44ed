"""The list of `make mutations` fits the source and the tests, which change more often than it is run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mutations.run import LIST, ROOT, Mutation, read

MUTATIONS = read()


def test_there_are_40_with_names_of_their_own() -> None:
    assert len({each.name for each in MUTATIONS}) == len({(each.file, each.old, each.new) for each in MUTATIONS}) >= 40
    assert len(MUTATIONS) == LIST.read_text(encoding="utf-8").count("[[mutation]]")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_it_changes_one_line_into_other_python(mutation: Mutation) -> None:
    source = mutation.path(ROOT).read_text(encoding="utf-8")
    changed = mutation.applied(source)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


def functions(path: Path) -> dict[str, bool]:
    """Name of each test in a file -> whether it runs without --slow."""
    found = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    return {
        node.name: not any("mark.slow" in ast.unparse(each) for each in node.decorator_list)
        for node in found
        if node.name.startswith("test_")
    }


def test_its_tests_are_there() -> None:
    for test in {test for mutation in MUTATIONS for test in mutation.tests}:
        file, _, name = test.partition("::")
        there = functions(ROOT / "tests" / file)
        assert there.get(name, False) if name else any(there.values()), test


def test_a_line_that_is_not_there_once_is_refused() -> None:
    mutation = Mutation("name", "file.py", "a = 1", "a = 2", "", ())
    assert mutation.applied("if x:\n    a = 1\n") == "if x:\n    a = 2\n"
    for source in ("a = 10\n", "a = 1\nif x:\n    a = 1\n"):
        with pytest.raises(ValueError, match=r"name: file\.py has [02] lines 'a = 1', not one"):
            mutation.applied(source)
