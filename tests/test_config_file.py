"""config.yaml reads back, in later versions too: newer fields, newer formats, and what is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from lewel import config, recipes
from lewel.errors import UserError
from lewel.recipes import config_file
from lewel.terms import MLP, Head


@pytest.mark.parametrize("name", recipes.names())
def test_yaml_reads_back(name: str) -> None:
    recipe = recipes.get(name)
    again = config_file.from_yaml(config_file.to_yaml(recipe))
    assert again == recipe and again.note == recipe.note


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 10", "epochs: ten", "epochs: expected int, got 'ten'"),
        ("epochs: 10", "epochs: true", "epochs: expected int"),
        ("epochs: 10", "epoch: 10", "unknown key 'epoch'; did you mean epochs"),
        ("epochs: 10", "", "missing key 'epochs'"),
        ("kind: lars", "kind: adam", "'adam' is not one of sgd, lars"),
        ("weight_decay: 1.0e-06", "weight_decay: 1e-6", "write 1.0e-6"),
        ("directions:", "directions: [", "not YAML"),
        ("kind: mlp", "kind: mpl", "method: terms.0.: projector: no kind 'mpl'; did you mean mlp"),
        ("schedule: cosine", "schedule: linear", "target: schedule: 'linear' is not one of constant, cosine"),
        ("hidden:", "hiden:", "unknown key 'hiden'; did you mean hidden"),
        ("- 512", "- 0", "projector: MLP: hidden .0,.: must be a tuple, each 1 or more"),
        ("epochs: 10", "epochs: !!int ''", "not YAML"),
        ("image_size: 64", "image_size: 64.5", "data: image_size: expected int"),
    ],
)
def test_yaml_that_is_no_recipe_is_refused(old: str, new: str, message: str) -> None:
    recipe = replace(recipes.get("byol_tiny"), epochs=10)
    recipe = replace(
        recipe,
        optimizer=replace(recipe.optimizer, kind="lars", weight_decay=1e-6, warmup_epochs=1),
        data=replace(recipe.data, image_size=64),
    )
    text = config_file.to_yaml(recipe)
    assert old in [line.strip() for line in text.splitlines()]
    # the first whole-line occurrence: "epochs" must not match "warmup_epochs"
    lines = [line.replace(old, new) if line.strip() == old else line for line in text.splitlines()]
    with pytest.raises(UserError, match=message):
        config_file.from_yaml("\n".join(lines))


def test_empty_yaml_is_refused() -> None:
    with pytest.raises(UserError, match="expected the fields of Recipe"):
        config_file.from_yaml("")


@dataclass(frozen=True)
class Wider(MLP):
    """A projector with a field that today's files do not have, and one that is a list of configs."""

    layers: int = 2
    more: tuple[Head, ...] = dataclasses.field(default_factory=tuple)


def test_a_field_that_the_file_does_not_have_takes_its_default() -> None:
    head = {"out": 8, "hidden": [16]}
    read = config_file._read(Wider, head, "head")
    assert read == Wider(8, (16,)) and (read.layers, read.more) == (2, ())


def test_every_field_that_may_be_absent_may_be() -> None:
    recipe = recipes.get("lewel_m_tiny")
    content = config_file.to_dict(replace(recipe, data=replace(recipe.data, views=(config.View(),) * 2)))
    content["data"]["views"] = [{}, {}]
    assert config_file.from_dict(content, "here").data.views == (config.View(),) * 2


def test_the_text_says_its_format() -> None:
    recipe = recipes.get("lewel_m_tiny")
    text = config_file.to_yaml(recipe)
    assert text.splitlines()[0] == f"format: {config_file.FORMAT}"
    content = yaml.safe_load(text)
    assert content["format"] == config_file.FORMAT
    assert config_file.from_dict(content, "here") == recipe


@pytest.mark.parametrize(
    ("number", "message"),
    [(config_file.FORMAT + 1, "by a newer lewel.*pip install --upgrade lewel"), ("x", "no format number")],
)
def test_a_format_that_is_not_known_is_refused(number: object, message: str) -> None:
    content = config_file.to_dict(recipes.get("lewel_m_tiny")) | {"format": number}
    with pytest.raises(UserError, match=message):
        config_file.from_dict(content, "here")


def test_older_formats_are_brought_to_todays_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """`passes` became `epoch` in the format after today's, and `epoch` became `epochs` in the next one."""

    def renamed(old: str, new: str):
        return lambda content: {new if name == old else name: value for name, value in content.items()}

    recipe = recipes.get("lewel_m_tiny")
    first = config_file.FORMAT
    content = config_file.to_dict(recipe)
    newest = {**content, "format": first + 2}
    oldest = renamed("epochs", "passes")(content)
    monkeypatch.setattr(config_file, "FORMAT", first + 2)
    later = {first: renamed("passes", "epoch"), first + 1: renamed("epoch", "epochs")}
    monkeypatch.setattr(config_file, "_UPGRADES", config_file._UPGRADES | later)
    assert config_file.from_dict(oldest, "here") == config_file.from_dict(newest, "here") == recipe
    with pytest.raises(UserError, match="unknown key 'passes'"):
        config_file.from_dict({**oldest, "format": first + 1}, "here")


def test_every_older_format_has_its_upgrade() -> None:
    assert sorted(config_file._UPGRADES) == list(range(1, config_file.FORMAT))


def test_a_run_or_its_config_stands_for_its_recipe(tmp_path: Path) -> None:
    recipe = replace(recipes.get("byol_tiny"), epochs=7, note="")
    (tmp_path / "config.yaml").write_text("# a comment\n" + config_file.to_yaml(recipe))
    assert recipes.get(str(tmp_path)) == recipes.get(str(tmp_path / "config.yaml")) == recipe


def test_what_holds_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run: it has no config\.yaml"):
        recipes.get(str(tmp_path))
    with pytest.raises(UserError, match=r"absent\.yaml cannot be read"):
        recipes.get(str(tmp_path / "absent.yaml"))
