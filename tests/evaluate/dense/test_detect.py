"""`lewel evaluate detect-...` from files to results, stopped and gone on with, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import stops

from lewel.data import scenes
from lewel.evaluate import kinds, predictions
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.detection import task as detection
from lewel.evaluate.dense.detection.found import Found
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.dense.truth import voc
from lewel.evaluate.parts import Divided

FEW = ("--iterations", 2, "--batch-size", 2, "--image-size", 64, "--regions", 8, "--lr", 0.001)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, in VOC's form and in COCO's."""
    return scenes.make(tmp_path_factory.mktemp("objects") / "scenes", train=4, val=3, size=64)


def job(data: Path, directory: Path, model: str = "detect-voc-c4", **changes: Any) -> Any:
    numbers = {"iterations": 4, "batch_size": 2, "lr": 0.001, "regions": 8} | changes
    protocol = get_protocol(model, Changes(**numbers))
    assert isinstance(protocol.task, Detection)
    train, val = (voc.open_objects([voc.Part(data / scenes.VOC, part)]) for part in ("train", "val"))
    facts = {"train": train.facts(), "val": val.facts()}
    given = little.job(
        replace(protocol.task, precise_bn=2),
        little.subject(little.encoder()),
        Divided(train, val, facts),
        directory,
    )
    return replace(given, protocol=replace(given.protocol, image_size=64))


@pytest.fixture(scope="session")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `job` gives that nothing interrupts."""
    return done(job(data, tmp_path_factory.mktemp("unbroken")))


def done(given: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    values = dict(detection.evaluate(given))
    return values, predictions.load(given.directory / predictions.NAME)


@pytest.mark.parametrize("task", ["detect-voc-c4", "detect-coco-c4", "detect-coco-fpn"])
def test_from_files_to_results(task: str, data: Path, weights: Path, out: Path) -> None:
    root = data / "VOCdevkit" if "voc" in task else data
    assert little.evaluate(task, weights, root, out, *FEW) == 0
    result = little.read(out / "results.json")
    assert result["protocol"]["base"] == task and result["protocol"]["regions"] == 8
    assert result["data"]["val"]["images"] == 3 and result["seeds"][0]["images_of_val"] == 3
    assert result["seeds"][0]["training"]["iterations"] == 2
    assert {"AP", "AP50", "AP75", "per_class_AP"} <= result["metrics"].keys()
    assert ("AP_mask" in result["metrics"]) == ("coco" in task)
    assert len(gallery.read(out / "seed-0")) == 3
    assert "Predictions, the worst first" in (out / "page.html").read_text()


@pytest.mark.parametrize("first", [True, False], ids=["in", "after"])
def test_stopped_and_started_again_is_unbroken(
    first: bool, unbroken: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SAVE_EVERY", 1)
    values, arrays = unbroken
    again = job(data, tmp_path / "again")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        stops.after(2, stops.crash, first, patch)
        done(again)
    found, found_arrays = done(again)
    assert json.dumps(found) == json.dumps(values)  # NaN of classes without objects included
    assert found_arrays.keys() == arrays.keys()
    assert all(np.array_equal(found_arrays[name], array) for name, array in arrays.items())
    assert json.dumps(done(again)[0]) == json.dumps(values)  # counted anew from its predictions


def test_numbers_are_counted_once_an_evaluation(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, numbers = list[int](), detection.numbers
    monkeypatch.setattr(detection, "numbers", lambda *given: counted.append(len(given[1])) or numbers(*given))
    done(job(data, tmp_path / "job"))
    assert counted == [3] * 4


def test_the_rate_is_searched_and_recorded(data: Path, weights: Path, out: Path) -> None:
    root = data / "VOCdevkit"
    assert little.evaluate("detect-voc-c4", weights, root, out, *FEW, "--lr-search") == 0
    result = little.read(out / "results.json")
    search = result["seeds"][0]["training"]["lr_search"]
    assert list(search["tried"]) == ["0.0005", "0.001", "0.002", "0.004"] and search["by"] == "AP"
    assert result["protocol"]["lr"] == search["chosen"] and "lr_search" in result["protocol"]["name"]
    assert {path.name for path in (out / "lr-search").iterdir()} == {f"lr-{rate}" for rate in search["tried"]}
    before = (out / "lr-search" / "lr-0.001" / "job.json").stat().st_mtime_ns
    shutil.rmtree(out / "seed-0")
    assert little.evaluate("detect-voc-c4", weights, root, out, *FEW, "--lr-search") == 0
    assert (out / "lr-search" / "lr-0.001" / "job.json").stat().st_mtime_ns == before
    assert little.read(out / "results.json")["metrics"] == result["metrics"]


def test_arrays_hold_every_detection() -> None:
    runs = ({"size": [4, 5], "counts": b"abc"}, {"size": [4, 5], "counts": b"d"})
    one = Found(np.array([[0.0, 1, 2, 3], [1, 1, 4, 4]]), np.array([0.5, 0.25]), np.array([1, 0]), runs)
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), ())
    arrays = detection.as_arrays([none, one, none], np.array([0, 2, 3]))
    back = detection.from_arrays(arrays, masks=True)
    assert [len(each.scores) for each in back] == [0, 2, 0]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(back[1][:3], one[:3], strict=True))
    assert back[1].masks == runs and detection.from_arrays(arrays, masks=False)[1].masks is None


@pytest.mark.parametrize("flags", [("--split", "auto"), ("--val-share", 0.3), ("--subset", "x")])
def test_flags_of_data_that_are_not_divided(
    flags: tuple[Any, ...], data: Path, weights: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert little.evaluate("detect-voc-c4", weights, data, out, *flags) == 2
    assert "takes the splits that its data have; leave it out" in little.told(capsys)
    assert not out.exists()


def test_what_detection_cannot_take(
    data: Path, weights: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data / "VOCdevkit"
    assert little.evaluate("detect-voc-c4", "random:mobilenetv3_small_050", root, out) == 2
    assert "take ResNets apart, this is mobilenetv3_small_050" in little.told(capsys)
    assert little.evaluate("detect-voc-c4", weights, tmp_path / "no", out) == 2
    assert "is not a directory; detect-voc-c4 needs one" in little.told(capsys)
    assert little.evaluate("detect-voc-c4", weights, root, out, "--epochs", 3) == 2
    assert "--epochs 3: detect-voc-c4 has no such number" in little.told(capsys)
    assert little.evaluate("knn-k20-t0.07", weights, root, out, "--lr-search") == 2
    assert "has no search of its rate" in little.told(capsys)
    copied = shutil.copytree(data / scenes.VOC, tmp_path / "VOC2012")
    (copied / "ImageSets" / "Main" / "val.txt").unlink()
    assert little.evaluate("detect-voc-c4", weights, copied, out) == 2
    assert "val.txt is missing; splits there: train, trainval" in little.told(capsys)
    assert not out.exists()


def test_a_kind_for_each_task_but_maps() -> None:
    from lewel.evaluate.protocols import PROTOCOLS

    assert {type(each.task) for each in PROTOCOLS.values()} - kinds.KINDS.keys() == {type(PROTOCOLS["maps"].task)}


def test_missing_packages_are_told_before_anything_begins(
    data: Path, weights: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package, task in (("faster_coco_eval", "detect-voc-c4"), ("pycocotools", "detect-coco-c4")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            assert little.evaluate(task, weights, data, out) == 2
        assert "pip install 'lewel[dense]'" in little.told(capsys)
        assert not out.exists()


def test_a_search_does_not_begin_over_other_results(
    data: Path, weights: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data / "VOCdevkit"
    assert little.evaluate("detect-voc-c4", weights, root, out, *FEW) == 0
    capsys.readouterr()
    assert little.evaluate("detect-voc-c4", weights, root, out, *FEW, "--lr", 0.007, "--lr-search") == 2
    assert "is of other protocol; give another --out, or delete it" in little.told(capsys)
    assert not (out / "lr-search").exists()


@pytest.mark.parametrize(
    "task", ["detect-voc-c4", *(pytest.param(f"detect-coco-{each}", marks=pytest.mark.slow) for each in ("c4", "fpn"))]
)
def test_images_without_objects_train(task: str, data: Path, weights: Path, out: Path, tmp_path: Path) -> None:
    """Three of four, so that one of the two batches has none at all; and one of those that are tested."""
    root = shutil.copytree(data, tmp_path / "scenes")
    empty = {"train": {1, 2, 4}, "val": {2}}
    for split, numbers in empty.items():
        path = root / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] not in numbers]
        path.write_text(json.dumps(content))
        for number in numbers:
            path = root / scenes.VOC / "Annotations" / f"{split}_{number:06}.xml"
            path.write_text(re.sub(r"<object>[\s\S]*?</object>", "", path.read_text()))
    assert little.evaluate(task, weights, root, out, *FEW) == 0
    result = little.read(out / "results.json")
    assert result["data"]["train"]["without_objects"] == 3 and result["data"]["val"]["without_objects"] == 1
    assert result["seeds"][0]["images_of_val"] == 3
    rows = [json.loads(line) for line in (out / "seed-0" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all()
