"""Kinds from a user's own file: in a recipe, in config.yaml, when a run goes on, in pictures and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import lewel
from lewel import build, recipes
from lewel.data import scenes
from lewel.errors import UserError
from lewel.recipes import config_file

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_maps.py"
FLAGS = ["--encoder", "test_resnet", "--hidden", "16", "--dim", "8", "--batch-size", "8", "--queue", "8"]
FLAGS += ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--evaluate", "none"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("scenes") / "images", train=16, val=6, size=64)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "stripes.py"
    path.write_text(EXAMPLE.read_text())
    return path


@pytest.fixture(scope="module")
def run(own: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of two steps, the second one by resuming."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert lewel("pretrain", f"{own}:striped", "--data", images, "--out", out, *FLAGS, "--epochs", "1") == 0
    again = ["pretrain", out, "--data", images, "--out", out, *FLAGS[-8:], "--epochs", "2", "--extend"]
    assert lewel(*again) == 0
    return out


def test_the_recipe_reads_back_with_its_own_maps(own: Path, run: Path) -> None:
    recipe = recipes.get(str(run))
    maps = recipe.method.terms[1].maps
    assert (type(maps).__name__, maps.columns, recipe.epochs) == ("Stripes", 2, 2)
    assert f"kind: {own}:Stripes" in (run / "config.yaml").read_text()
    assert type(recipes.get(f"{own}:striped").method.terms[1].maps) is type(maps), "one import of an unchanged file"
    assert config_file.from_yaml(config_file.to_yaml(recipe)) == recipe


def test_its_parameters_are_trained_and_saved(run: Path) -> None:
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["step"] == 4 and "entropy/aligned" in steps[-1]
    names = dict(build.terms(recipes.get(str(run))).named_parameters())
    assert {"online.maps.aligned.shift", "target.branch.maps.aligned.shift"} <= set(names)


def test_its_maps_are_shown_and_the_report_names_them(run: Path, images: Path, tmp_path: Path) -> None:
    assert lewel("maps", "--run", run, "--data", images, "--out", tmp_path / "maps.png", "--images", "6") == 0
    assert (tmp_path / "maps.png").is_file()
    assert "stripes.py:Stripes" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("columns: 2", "columns: 0", "maps: Stripes: columns 0: must be 1 or more"),
        ("columns: 2", "rows: 2", "maps: unknown key 'rows'"),
        (":Stripes", ":Absent", "is no frozen dataclass of the kind Maps"),
        (":Stripes", ":StripesModule", "is no frozen dataclass of the kind Maps"),
        ("stripes.py:", "moved.py:", "moved.py does not exist"),
        ("stripes.py:", "moved:", "cannot be imported"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(own: Path, old: str, new: str, message: str) -> None:
    text = config_file.to_yaml(recipes.get(f"{own}:striped"))
    assert old in text
    with pytest.raises(UserError, match=message) as caught:
        config_file.from_yaml(text.replace(old, new))
    assert "\n" not in str(caught.value)
