"""`lewel` as a Python package: the functions do what the commands do, and say a misuse in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import torch

import lewel
import misuses
from command import lewel as command
from lewel import keywords, plan
from lewel.config import Options
from lewel.data import scenes
from lewel.plan import Overrides

SOURCE = str(Path(lewel.__file__).parents[1])
SMALL = {"encoder": "test_resnet", "batch_size": 16, "epochs": 2, "hidden": 32, "dim": 16, "warmup_epochs": 0}
HERE = {"workers": 0, "device": "cpu", "precision": "fp32", "log_every": 2, "evaluate": "none"}


def flags(given: dict[str, object]) -> list[str]:
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=40, val=20, size=64)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> lewel.Run:
    return lewel.pretrain("lewel_b_tiny", data=photos, out=tmp_path_factory.mktemp("runs") / "a", **SMALL, **HERE)


# -- the package -----------------------------------------------------------------------------------------------------


def test_only_public_names_are_listed() -> None:
    assert dir(lewel) == sorted(lewel.__all__) and not [name for name in dir(lewel) if name.startswith("_")][1:]


def test_functions_stay_functions_when_modules_of_their_names_are_imported() -> None:
    import lewel.pretrain  # pyright: ignore[reportMissingImports]

    assert callable(lewel.pretrain) and lewel.pretrain.__module__ == "lewel.api"


def test_the_functions_need_no_torch_until_they_are_called() -> None:
    code = "import sys, lewel; lewel.pretrain, lewel.load_run, lewel.open_images; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=SOURCE).returncode == 0


@pytest.mark.parametrize(
    ("mirror", "mirrored", "without"), [(keywords.Pretraining, (Overrides, Options), {"data", "run"})]
)
def test_keywords_are_the_fields_of_what_they_mirror(mirror, mirrored, without) -> None:
    fields = {field.name for kind in mirrored for field in dataclasses.fields(kind)} - without
    hints = {name: hint for kind in mirrored for name, hint in typing.get_type_hints(kind).items() if name in fields}
    assert typing.get_type_hints(mirror) == hints


# -- pretrain, load_run, open_images ---------------------------------------------------------------------------------


def test_a_run_is_the_commands_bit_for_bit(run, photos, tmp_path) -> None:
    out = tmp_path / "b"
    assert command("pretrain", "lewel_b_tiny", "--data", photos, "--out", out, *flags(SMALL | HERE)) == 0
    theirs = lewel.load_run(out)
    assert (out / "encoder.safetensors").read_bytes() == (run.directory / "encoder.safetensors").read_bytes()
    assert theirs.recipe == run.recipe and theirs.recipe.optimizer.batch_size == 16
    assert [row["step"] for row in theirs.metrics] == [row["step"] for row in run.metrics] == [1, 2, 4]


def test_a_run_has_its_encoder_and_method(run) -> None:
    images = torch.rand(2, 3, 64, 64)
    trained = run.method.online.encoder.eval()
    assert not run.encoder.training and torch.equal(run.encoder(images), trained(images))
    assert run.encoder is run.encoder


def test_reading_a_run_draws_no_random_numbers(run) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _ = lewel.load_run(run.directory).method
    assert torch.equal(torch.rand(3), expected)


def test_the_same_call_goes_on(run, photos) -> None:
    rows = run.metrics
    again = lewel.pretrain("lewel_b_tiny", data=str(photos), out=run.directory, **SMALL, **HERE)
    assert again.metrics == rows


def test_a_recipe_is_a_name_or_a_recipe(run, photos, tmp_path) -> None:
    recipe = lewel.recipes.get("lewel_b_tiny")
    given = plan.resolve(recipe, Overrides(**SMALL), 40).recipe
    other = lewel.pretrain(given, data=photos, out=tmp_path / "run", **HERE)
    assert (other.directory / "encoder.safetensors").read_bytes() == (
        run.directory / "encoder.safetensors"
    ).read_bytes()


def test_callbacks_see_every_step(photos, tmp_path) -> None:
    steps = []
    lewel.pretrain("byol_tiny", data=photos, out=tmp_path / "run", callbacks=[steps.append], **SMALL, **HERE)
    assert [step.number for step in steps] == [1, 2, 3, 4] and all(isinstance(step, lewel.Step) for step in steps)
    assert [step.last for step in steps] == [False, False, False, True] and steps[0].images == 16


def test_images_are_opened(photos) -> None:
    images = lewel.open_images(photos, "val")
    assert len(images) == 20 and images.read(3).mode == "RGB" and images.labels is not None
    assert len(lewel.open_images(photos)) == 40


def test_numbers_of_numpy_are_numbers(photos, tmp_path) -> None:
    given = SMALL | {"epochs": np.int64(1), "lr": np.float32(0.5)}
    assert lewel.pretrain("byol_tiny", data=photos, out=tmp_path / "run", **given, **HERE).recipe.optimizer.lr == 0.5


# -- misuse ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def misused(photos, tmp_path_factory) -> dict[str, list[str]]:
    """What each misuse raises, without the tests' own check of types, and the files it leaves."""
    command = [sys.executable, str(Path(misuses.__file__)), str(photos)]
    empty = tmp_path_factory.mktemp("empty")
    done = subprocess.run(command, cwd=empty, env=os.environ | {"PYTHONPATH": SOURCE}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(empty.iterdir())
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", misuses.MISUSES)
def test_a_misuse_is_one_line(name: str, misused) -> None:
    kind, text = misused[name]
    assert kind == "UserError" and re.search(misuses.MISUSES[name][1], text) and "\n" not in text
