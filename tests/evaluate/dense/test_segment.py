"""`lewel evaluate segment-...` from files to results, stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import stops

from lewel.data import scenes
from lewel.data.scene_objects import CLASSES
from lewel.evaluate import predictions
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.segmentation import model
from lewel.evaluate.dense.segmentation import task as segmentation
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import open_segmentation
from lewel.evaluate.parts import Divided

FEW = ("--iterations", 2, "--batch-size", 2, "--image-size", 32)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, masks among them."""
    return scenes.make(tmp_path_factory.mktemp("masks") / "scenes", train=4, val=3, size=64)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet that can be dilated."""
    return little.encoder_file(tmp_path_factory.mktemp("weights") / "mine.safetensors", name="resnet18")


def job(data: Path, directory: Path) -> Any:
    """Three steps, measured after the second and the third."""
    protocol = get_protocol("segment-voc", Changes(iterations=3, batch_size=2, lr=0.001, evaluations=2))
    assert isinstance(protocol.task, Segmentation) and protocol.task.photometric and model.DROPOUT > 0
    train, val = open_segmentation(data, "train"), open_segmentation(data, "val")
    subject = little.subject(little.encoder("resnet18"))
    return little.job(protocol.task, subject, Divided(train, val, {}), directory)


def done(given: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    values = dict(segmentation.evaluate(given))
    return values, predictions.load(given.directory / predictions.NAME)


@pytest.mark.parametrize("task", ["segment-voc", "segment-voc-fcn16"])
def test_from_files_to_results(task: str, data: Path, weights: Path, out: Path) -> None:
    assert little.evaluate(task, weights, data / "VOCdevkit", out, *FEW) == 0
    result = little.read(out / "results.json")
    assert result["protocol"]["base"] == task and result["data"]["classes"] == 11
    assert result["data"]["val"]["images"] == 3 and result["seeds"][0]["images_of_val"] == 3
    assert result["seeds"][0]["training"]["iterations"] == 2
    metrics = result["metrics"]
    assert metrics.keys() == {"mIoU", "pixel_accuracy", "mean_class_accuracy", "per_class_IoU"}
    each = result["seeds"][0]["metrics"]["per_class_IoU"]
    assert list(each) == ["background", *CLASSES]
    there = [value for value in each.values() if value is not None]
    assert result["seeds"][0]["metrics"]["mIoU"] == pytest.approx(sum(there) / len(there))
    shown = gallery.read(out / "seed-0")
    assert {each.name for each in shown} == {f"val_{number:06}" for number in range(1, 4)}
    page = (out / "page.html").read_text()
    assert "Predictions, the worst first" in page and all(each.score in page for each in shown)


@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["in", "after"])
def test_stopped_and_started_again_is_unbroken(
    first: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the second step, before or after it was measured and kept; dropout and colours go on as they would have."""
    monkeypatch.setattr(model, "WIDTH", 32)
    values, arrays = done(job(data, tmp_path / "unbroken"))
    monkeypatch.setattr(fitting, "SAVE_EVERY", 1)
    again = job(data, tmp_path / "again")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stops.after(2, stops.crash, first, patch)
        done(again)
    found, found_arrays = done(again)
    assert json.dumps(found) == json.dumps(values)
    assert found_arrays.keys() == arrays.keys()
    assert all(np.array_equal(found_arrays[name], array) for name, array in arrays.items())
    rows, unbroken = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("again", "unbroken")
    )
    assert [row["mIoU"] for row in rows if "mIoU" in row] == [row["mIoU"] for row in unbroken if "mIoU" in row]
