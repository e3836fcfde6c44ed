"""`lewel evaluate maps`: a network that looks at objects is found out, one that does not is not; files and errors."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import lewel
from lewel import build, config, recipes
from lewel.console import Console
from lewel.data import scenes
from lewel.evaluate import protocols
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense.tasks import Maps
from lewel.evaluate.maps import looking as looked_at
from lewel.evaluate.maps import scenery, where
from lewel.evaluate.maps.looking import KINDS, METRICS, Looking
from lewel.interop.runs import Loaded
from lewel.plan import Overrides
from lewel.pretrain import pretrain

QUIET = Console(quiet=True)
TASK = Maps(resamples=200, scenes=4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=40, val=10, size=64)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "lewel_m"
    numbers = Overrides(encoder="test_resnet", batch_size=16, epochs=1, hidden=32, dim=16)
    given = config.Options(data=str(photos), run=str(path), seed=7, device="cpu", workers=0, evaluate="none")
    pretrain("lewel_m_tiny", given, numbers, Console(file=io.StringIO()))
    return path


def looking(monkeypatch: pytest.MonkeyPatch, seen) -> Looking:
    """Of networks whose maps are a function of the pixels."""
    recipe = recipes.get("lewel_m_tiny")
    recipe = replace(recipe, method=replace(recipe.method, encoder=config.Encoder("test_resnet")))
    method = build.method(recipe)
    monkeypatch.setattr(looked_at, "alignment", lambda _, pixels, __: seen(pixels))
    return Looking(Loaded(recipe, method, method), "aligned", TASK, 64, 0, torch.device("cpu"))


class Blobs:
    """Dark pictures with a bright square each, at another place in every one; the square is the object."""

    def __len__(self) -> int:
        return 10

    def square(self, index: int) -> scenery.Square:
        row, column = divmod(7 * index % 16, 4)
        classes = np.zeros((64, 64), np.uint8)
        classes[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 3
        pixels = np.repeat(classes[..., None] * 80, 3, axis=2)
        return scenery.Square(str(index), Image.fromarray(pixels), classes)

    def facts(self) -> dict:
        return {}


def bright(pixels: torch.Tensor) -> torch.Tensor:
    """Two maps on 4 x 4 cells: where it is bright, and where it is dark."""
    cells = torch.nn.functional.adaptive_avg_pool2d(pixels.mean(dim=1, keepdim=True), 4)
    return torch.cat([cells, -cells], dim=1).flatten(2).softmax(dim=2).unflatten(2, (4, 4))


def test_maps_of_the_objects_are_perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looking(monkeypatch, bright).measure(Blobs(), QUIET)
    trained, other, chance = (found.values[kind] for kind in ("trained", "other", "uniform"))
    assert found.maps == (0, 0) and len(found.names) == 10
    assert np.all(trained["pointing_chosen"] == 100) and np.all(trained["pointing"] == 50)
    assert np.all(trained["iou_chosen"] > 75)  # not 100: drawn bilinear, a cell has round corners
    assert other["pointing_chosen"] == pytest.approx(np.full(10, 100 / 15))  # the dark cells of another image
    assert chance["pointing_chosen"] == pytest.approx(np.full(10, 100 / 16))
    assert chance["iou_best"] == pytest.approx(np.full(10, 100 / 31))


def test_maps_that_do_not_look_are_no_better_on_their_own_image(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    method = looking(monkeypatch, lambda pixels: fixed.expand(len(pixels), -1, -1, -1))
    found = method.measure(scenery.Made(scenes.Made(1, 12, 64, 0)), QUIET)
    summary = where.summary(found, 200, 0)
    for name in METRICS:
        above = summary["trained_above"]["other"][name]
        assert above["mean"] == above["low"] == above["high"] == 0
    assert summary["kinds"]["uniform"]["agreement"]["mean"] is None


def test_other_is_the_image_before_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = looking(monkeypatch, bright).measure(Blobs(), QUIET)
    monkeypatch.setattr(looked_at, "CHUNK", 3)
    parts = looking(monkeypatch, bright).measure(Blobs(), QUIET)
    for name in METRICS:
        for kind in ("trained", "initial", "uniform"):
            assert np.array_equal(whole.values[kind][name], parts.values[kind][name], equal_nan=True)
        assert np.array_equal(whole.values["other"][name][1:], parts.values["other"][name][1:], equal_nan=True)


def test_images_without_objects_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Some(Blobs):
        def square(self, index: int) -> scenery.Square:
            name, picture, classes = super().square(index)
            return scenery.Square(
                name, picture, classes if index % 2 else np.full_like(classes, 255 * (index % 4 == 0))
            )

    found = looking(monkeypatch, bright).measure(Some(), QUIET)
    assert found.names == ["1", "3", "5", "7", "9"] and found.left_out == 5


def test_the_middle_of_a_photograph_and_its_mask(photos: Path) -> None:
    """The mask is cut where the picture is."""
    images = scenery.open_scenery(str(photos), 0, 64, 0, QUIET)
    assert len(images) == 50 and images.facts()["split"] == "trainval"
    assert isinstance(images, scenery.Photographs)
    wide = images.images
    square = images.square(3)
    assert np.array_equal(square.classes, wide.mask(3)) and square.picture.size == (64, 64)


def test_regions_keep_classes_that_are_large_enough() -> None:
    classes = np.zeros((64, 64), np.uint8)
    classes[:16] = 4
    classes[16:20, :8] = 7
    classes[-8:] = 255
    each, counted = scenery.regions(classes, 64, 0.01)
    assert each.sum(dim=(1, 2)).tolist() == [16 * 64] and int(counted.sum()) == 56 * 64
    assert scenery.regions(classes, 64, 0.005).each.sum(dim=(1, 2)).tolist() == [16 * 64, 32]
    assert scenery.regions(classes, 32, 0.01).each.sum(dim=(1, 2)).tolist() == [16 * 64 // 4]


def test_a_run_on_a_folder(run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert lewel("evaluate", "maps", "--weights", run, "--data", photos, "--out", out, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "chosen map" in said and "trained above" in said and "where.png" in said
    found = json.loads((out / "results.json").read_bytes())
    assert found["protocol"]["name"] == "maps" and found["protocol"]["image_size"] == 128
    assert found["data"]["val"]["images"] == 50 and found["seeds"][0]["skipped"] == []
    assert set(found["metrics"]["kinds"]) == set(KINDS)
    for name in METRICS:
        mean, low, high = found["metrics"]["kinds"]["trained"][name].values()
        assert low <= mean <= high and found["metrics"][name] == mean
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert len(rows) == len(METRICS) * (len(KINDS) + len(KINDS) - 1)
    assert (out / "table.md").read_text().count("| chosen map |") == 2
    with Image.open(out / "where.png") as picture:
        assert min(picture.size) > 400


def test_the_same_again_is_the_same(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(protocols.PROTOCOLS, "maps", replace(protocols.PROTOCOLS["maps"], task=TASK))
    options = config.Evaluation((str(run), str(run)), "scenes", str(tmp_path / "out"), device="cpu")
    first, second = where.evaluate("maps", options, Changes(), QUIET)
    assert first.metrics == second.metrics and first.label != second.label
    (again,) = where.evaluate("maps", replace(options, weights=(str(run),)), Changes(), QUIET)
    assert again.metrics == first.metrics
    other = where.at_side(get_protocol("maps", Changes(image_size=64)), 64, 64).facts()
    assert other["name"] == "maps[image_size=64]" and other["digest"] != first.protocol["digest"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "random:resnet18"], "is no run"),
        (["--data", "nowhere"], "has no VOC data"),
        (["--image-size", "100"], "--image-size 100: must be a multiple of 32"),
        (["--epochs", "3"], "maps has no such number"),
        (["--seeds", "3"], "--seeds 3: maps takes all images, once"),
        (["--split", "auto"], "--split auto: maps takes"),
    ],
)
def test_errors(arguments: list[str], words: str, run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    flags = {"--weights": run, "--data": photos, "--out": tmp_path / "out"} | dict(
        zip(*[iter(arguments)] * 2, strict=True)
    )
    assert lewel("evaluate", "maps", *(part for pair in flags.items() for part in pair)) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_results_of_another_task_stay(run: Path, photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "results.json").write_text('{"protocol": {"base": "linear-fast"}, "weights": {}, "metrics": {}}')
    assert lewel("evaluate", "maps", "--weights", run, "--data", photos, "--out", tmp_path) == 2
    assert "has results of linear-fast" in capsys.readouterr().err
