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
from PIL import Image

import lewel
import misuses
from command import lewel as command
from lewel import keywords, plan
from lewel.config import Evaluation, Extraction, Options
from lewel.data import scenes
from lewel.evaluate.changes import Changes
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
    import lewel.evaluate.embed
    import lewel.pretrain

    assert lewel.pretrain.__module__ == lewel.evaluate.__module__ == "lewel.api"


def test_the_functions_need_no_torch_until_they_are_called() -> None:
    code = "import sys, lewel; lewel.pretrain, lewel.load_run, lewel.open_images; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=SOURCE).returncode == 0


@pytest.mark.parametrize(
    ("mirror", "mirrored", "without"),
    [
        (keywords.Pretraining, (Overrides, Options), {"data", "run"}),
        (keywords.Evaluating, (Evaluation, Changes), {"weights", "data", "out"}),
        (keywords.Extracting, (Extraction,), {"weights", "data"}),
    ],
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


def test_loggers_get_every_row(photos, tmp_path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.rows, self.closed = [], 0

        def write(self, row) -> None:
            self.rows.append(row)

        def close(self) -> None:
            self.closed += 1

    kept = Kept()
    run = lewel.pretrain("byol_tiny", data=photos, out=tmp_path / "run", loggers=[kept], **SMALL, **HERE)
    assert isinstance(kept, lewel.Logger) and kept.rows == run.metrics and kept.closed == 1


def test_images_are_opened(photos) -> None:
    images = lewel.open_images(photos, "val")
    assert len(images) == 20 and images.read(3).mode == "RGB" and images.labels is not None
    assert len(lewel.open_images(photos)) == 40


def test_numbers_of_numpy_are_numbers(photos, tmp_path) -> None:
    given = SMALL | {"epochs": np.int64(1), "lr": np.float32(0.5)}
    assert lewel.pretrain("byol_tiny", data=photos, out=tmp_path / "run", **given, **HERE).recipe.optimizer.lr == 0.5


# -- evaluate, embed, maps, export -----------------------------------------------------------------------------------


def test_an_evaluation_gives_its_results(run, photos, tmp_path) -> None:
    given = {"device": "cpu", "workers": 0, "image_size": 32}
    (found,) = lewel.evaluate("knn-k20-t0.07", weights=run, data=photos, out=tmp_path / "knn", **given)
    written = json.loads((tmp_path / "knn" / "results.json").read_text())
    assert found.metrics == written["metrics"] and 0 <= found.metrics["top1"] <= 100
    both = [run, "random:test_resnet"]
    rows = lewel.evaluate("knn-k20-t0.07", weights=both, data=photos, out=tmp_path / "two", **given)
    assert rows[0].metrics["top1"] == found.metrics["top1"] and len(rows) == 2


def test_features_are_those_of_the_command(run, photos, tmp_path) -> None:
    table = lewel.embed(weights=run, data=photos, split="val", device="cpu", workers=0)
    out = tmp_path / "val.npz"
    flags = ["--split", "val", "--device", "cpu", "--workers", "0"]
    assert command("embed", "--weights", run.directory, "--data", photos, "--out", out, *flags) == 0
    with np.load(out) as file:
        assert np.array_equal(file["features"], table.features) and file["labels"].tolist() == table.labels
        assert file["paths"].tolist() == table.paths and len(table.paths) == 20
    lewel.embed(weights=run, data=photos, out=tmp_path / "again.npz", split="val", device="cpu", workers=0)
    assert (tmp_path / "again.npz").is_file()


def test_maps_are_a_figure_and_a_file(run, photos, tmp_path) -> None:
    figure = lewel.maps(run.directory, data=photos, out=tmp_path / "maps.png", indices=[0, 3], size=64)
    assert (tmp_path / "maps.png").read_bytes()[:4] == b"\x89PNG" == figure._repr_png_()[:4]
    before = list(tmp_path.iterdir())
    lewel.maps(run, data=photos, size=64)
    assert list(tmp_path.iterdir()) == before


def test_an_encoder_is_exported(run, photos, tmp_path) -> None:
    found = lewel.export(run, "timm", tmp_path / "encoder.pth", photos)
    assert found.out.is_file() and max(each.largest for each in found.differences) < 1e-4


# -- data in memory --------------------------------------------------------------------------------------------------


def in_memory(photos: Path, part: typing.Literal["train", "val"]) -> list[tuple[Image.Image, str]]:
    """The pictures of a part and the names of their classes."""
    images = lewel.open_images(photos, part)
    assert images.labels is not None and images.classes is not None
    return [(images.read(index), images.classes[images.labels[index]]) for index in range(len(images))]


@pytest.fixture(scope="module")
def pictures(photos) -> dict[str, list[tuple[Image.Image, str]]]:
    return {"train": in_memory(photos, "train"), "val": in_memory(photos, "val")}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_on_pictures_is_that_on_their_files(run, pictures, tmp_path, workers) -> None:
    here = HERE | {"workers": workers, "evaluate": "knn"}
    other = lewel.pretrain("lewel_b_tiny", data=pictures, out=tmp_path / "run", **SMALL, **here)
    assert (other.directory / "encoder.safetensors").read_bytes() == (
        run.directory / "encoder.safetensors"
    ).read_bytes()
    assert [row["step"] for row in other.metrics if "knn/top1" in row] == [0, 2, 4]


def test_a_run_goes_on_only_with_the_same_pictures(pictures, tmp_path) -> None:
    train = [picture for picture, _ in pictures["train"]]
    lewel.pretrain("byol_tiny", data=train, out=tmp_path / "run", **SMALL, **HERE)
    lewel.pretrain("byol_tiny", data=train, out=tmp_path / "run", **SMALL, **HERE)
    other = [train[1], *train[1:]]
    with pytest.raises(lewel.UserError, match=r"1 of the 40 images that are compared have other contents \(0\)"):
        lewel.pretrain("byol_tiny", data=other, out=tmp_path / "run", **SMALL, **HERE)
    with pytest.raises(lewel.UserError, match="has 40 images"):
        lewel.pretrain("byol_tiny", data=train[1:], out=tmp_path / "run", **SMALL, **HERE)


def test_an_evaluation_of_pictures_is_that_of_their_files(run, photos, pictures, tmp_path) -> None:
    given = {"device": "cpu", "workers": 0, "image_size": 32, "weights": run}
    found = [
        lewel.evaluate("knn-k20-t0.07", data=data, out=tmp_path / name, **given)[0].metrics
        for name, data in (("files", photos), ("pictures", pictures))
    ]
    assert found[0] == found[1]
    (split,) = lewel.evaluate("linear-fast", data=pictures["train"], out=tmp_path / "auto", split="auto", **given)
    assert 0 <= split.metrics["top1"] <= 100


def test_features_and_maps_of_pictures(run, photos, pictures, tmp_path) -> None:
    files = lewel.embed(weights=run, data=photos, split="val", device="cpu", workers=0)
    table = lewel.embed(weights=run, data=pictures, split="val", device="cpu", workers=0)
    assert np.array_equal(table.features, files.features) and table.labels == files.labels
    assert table.paths[1] == "val of list of 40 images#1"
    lewel.maps(run, data=pictures, out=tmp_path / "maps.png", size=64)
    lewel.export(run, "timm", tmp_path / "encoder.pth", pictures["val"])


@pytest.mark.slow
@pytest.mark.parametrize(("data", "workers", "expected"), [("path", 1, "done; in"), ("memory", 1, "only by fork")])
def test_a_script_without_a_guard_runs_once_where_processes_are_spawned(photos, tmp_path, data, workers, expected):
    (tmp_path / "script.py").write_text(
        "import multiprocessing, lewel\n"
        "print('begin')\n"
        "multiprocessing.set_start_method('spawn')\n"
        f"data = {str(photos)!r}\n"
        f"data = data if {data == 'path'} else [lewel.open_images(data).read(i) for i in range(40)]\n"
        f"lewel.pretrain('byol_tiny', data=data, out='run', **{SMALL | HERE | {'workers': workers}})\n"
    )
    environment = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "begin\n" and expected in done.stderr, done.stderr


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
