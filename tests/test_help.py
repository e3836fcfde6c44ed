"""--help with the defaults that a reader can use, and without the imports that make it slow."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from command import lewel
from lewel import plan, recipes
from lewel.plan import Overrides


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The help's words, without the frames around them."""
    assert lewel(*arguments, "--help") == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_flags_show_the_numbers_of_the_recipe(capsys: pytest.CaptureFixture[str]):
    text = shown(capsys, "pretrain", "byol_tiny")
    assert "--batch-size INT images a step, over all processes; " in text and "(default: 64)" in text
    assert "--lr FLOAT peak learning rate (default: 0.12)" in text
    assert "(default: 1, 0.1)" in text  # blur of both views
    assert "keys in the queue (default: byol_tiny has none)" in text
    assert "None" not in text


def test_without_a_recipe_the_help_says_whose_numbers_they_are(capsys: pytest.CaptureFixture[str]):
    text = shown(capsys, "pretrain")
    assert "passes over the images (default: the recipe's)" in text
    assert "RECIPE" in text and "None" not in text
    assert "(default: the recipe's)" in shown(capsys, "pretrain", "no_such_recipe")


@pytest.mark.parametrize("name", recipes.names())
def test_the_numbers_shown_are_those_that_the_flag_would_set(name: str):
    """Giving a recipe its own numbers as flags changes nothing."""
    recipe = recipes.get(name)
    said = plan.numbers(recipe)
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Overrides)}
    given = {}
    for field, text in said.items():
        if "," in text or not text.replace(".", "").replace("e-", "").isdigit():
            continue  # of each view another; a name
        given[field] = int(text) if kinds[field].startswith("int") else float(text)
    assert {"epochs", "batch_size", "lr", "image_size", "crop_min"} <= set(given)
    assert ("momentum" in given) == hasattr(recipe.method.target, "momentum")
    changed, notes = plan.overrides.apply(Overrides(**given), recipe)
    assert changed == recipe
    assert [note for note in notes if "-> " in note and "aligned" not in note] == []


@pytest.mark.parametrize("command", ["pretrain lewel_m_tiny", "evaluate", "maps", "embed", "bench step", "data pack"])
def test_help_does_not_import_what_takes_a_third_of_its_time(command: str):
    code = (
        "import sys; from lewel.cli import main; sys.argv = ['lewel', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: print(*{'typeguard', 'numpy', 'torch'} & set(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code, *command.split(), "--help"], capture_output=True, text=True)
    assert run.stderr.strip() == "", run.stderr
    assert "usage" in run.stdout
