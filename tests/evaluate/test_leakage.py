"""Images of val that are also in train: found whatever the data lie in, and said wherever a number stands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import little
import numpy as np
import pytest
from little import KNN, evaluate, read

from command import lewel
from lewel.data import scenes
from lewel.data.cifar import Pixels
from lewel.evaluate import labelled, leakage
from lewel.evaluate.dense.truth import voc
from lewel.evaluate.dense.truth.masks import open_segmentation
from lewel.evaluate.parts import Labelled


def opened(data: Path | str, split: str = "given", seed: int = 0) -> labelled.Divided:
    return labelled.open_divided(str(data), split, None, 0.5, seed)  # pyright: ignore[reportArgumentType]


def found(data: Path | str, split: str = "given") -> tuple[int, int]:
    """Images of val in train, and those of val that repeat another one."""
    parts = opened(data, split)
    told = leakage.facts(parts.train, parts.val)
    return told["val_in_train"], told["repeated_in_val"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return little.folder(tmp_path / "data")


def test_apart(data: Path) -> None:
    parts = opened(data)
    assert leakage.facts(parts.train, parts.val) == {
        "val_in_train": 0,
        "of": 6,
        "first": [],
        "repeated_in_val": 0,
        "first_repeated": [],
    }
    assert leakage.sentences([parts.facts]) == []


def test_the_number_stands_with_its_mark(
    weights: Path, data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in table.md and .json, on the page and in results.json, with the count and three names."""
    for name in ("ant/000", "bee/001", "cow/002", "ant/003"):
        shutil.copy(data / f"train/{name}.png", data / f"val/{name}-again.png")
    shutil.copy(data / "val/cow/005.png", data / "val/cow/900.png")
    assert evaluate(KNN, weights, data, out) == 0
    first = ", ".join(str(data / f"val/{name}-again.png") for name in ("ant/000", "ant/003", "bee/001"))
    said = f"4 of 11 images of val are also in train, the same file or the same bytes: {first} and 1 more."
    twice = f"1 of 11 images of val repeat another image of val, and count again: {data / 'val/cow/900.png'}."
    screen = capsys.readouterr().out
    for text in (screen, (out / "table.md").read_text(), (out / "page.html").read_text()):
        whole = "".join(text.split())  # a screen folds lines
        assert whole.count(said.replace(" ", "")) == 1 and twice.replace(" ", "") in whole
    told = read(out / "results.json")["data"]["leakage"]
    assert (told["val_in_train"], told["of"], told["repeated_in_val"]) == (4, 11, 1) and len(told["first"]) == 3
    assert told["first"][0] == {"val": str(data / "val/ant/000-again.png"), "train": str(data / "train/ant/000.png")}
    assert read(out / "table.json")[0]["val_in_train"] == 4


def test_a_training_says_so_before_it_begins(
    weights: Path, data: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(data / "train/ant/000.png", data / "val/ant/900.png")
    assert evaluate("finetune", weights, data, out, *little.SHORT) == 0
    lines = " ".join(capsys.readouterr().err.split())
    assert lines.index("warning: Leakage: 1 of 7") < lines.index("epoch 2")


def test_results_of_before_get_the_mark(weights: Path, data: Path, out: Path) -> None:
    """A job that is done is not done again, but its data are looked at."""
    shutil.copy(data / "train/ant/000.png", data / "val/ant/900.png")
    assert evaluate(KNN, weights, data, out) == 0
    job = out / "seed-0/job.json"
    content = read(job)
    content["done"]["data"].pop("leakage")
    job.write_text(little.json.dumps(content))
    assert evaluate(KNN, weights, data, out) == 0
    assert read(out / "results.json")["data"]["leakage"]["val_in_train"] == 1


@pytest.mark.parametrize("how", ["folder link", "class link", "links", "hard links", "copies"])
def test_class_folders(data: Path, how: str) -> None:
    train, val = data / "train", data / "val"
    shutil.rmtree(val)
    if how == "folder link":
        val.symlink_to("train", target_is_directory=True)
    elif how == "copies":
        shutil.copytree(train, val)
    else:
        val.mkdir()
        for name in little.CLASSES:
            if how == "class link":
                (val / name).symlink_to(train / name, target_is_directory=True)
                continue
            (val / name).mkdir()
            for file in (train / name).iterdir():
                (val / name / f"other-{file.name}").symlink_to(file) if how == "links" else os.link(
                    file, val / name / file.name
                )
    assert found(data) == (12, 0)


def test_lists_indexes_and_shards(data: Path, tmp_path: Path) -> None:
    """The same image under two names and three copies of another: as files, in their index and in shards."""
    shutil.copy(data / "train/ant/000.png", data / "val/ant/900.png")
    for name in ("901", "902"):
        shutil.copy(data / "val/bee/001.png", data / f"val/bee/{name}.png")
    rows = [f"{path.relative_to(data)},{path.parent.name},{path.parts[-3]}" for path in sorted(data.glob("*/*/*.png"))]
    listed = data / "list.csv"
    listed.write_text("\n".join(["path,label,split", *rows, "train/cow/002.png,cow,val"]))
    assert found(listed) == (2, 2)
    assert found(data) == (1, 2)
    listed.unlink()
    assert lewel("data", "index", data, "--out", tmp_path / "index.safetensors") == 0
    assert lewel("data", "pack", data, "--out", tmp_path / "shards") == 0
    assert found(tmp_path / "index.safetensors") == found(tmp_path / "shards") == (1, 2)


def test_a_split_that_is_made_here_divides_copies(data: Path) -> None:
    """Each image three times, half of them in val: no copy can be on one side alone for all."""
    shutil.rmtree(data / "val")
    for file in sorted(data.glob("train/*/*.png")):
        for number in range(3):
            (data / file.parent.name).mkdir(exist_ok=True)
            shutil.copy(file, data / file.parent.name / f"{file.stem}-{number}.png")
    shutil.rmtree(data / "train")
    parts = opened(data, "auto")
    told = leakage.facts(parts.train, parts.val)
    of_val = {parts.val.images.names[index].partition("-")[0] for index in range(len(parts.val))}
    of_train = {parts.train.images.names[index].partition("-")[0] for index in range(len(parts.train))}
    expected = sum(parts.val.images.names[index].partition("-")[0] in of_train for index in range(len(parts.val)))
    assert told["val_in_train"] == expected > 0
    assert told["repeated_in_val"] == len(parts.val) - len(of_val)


def test_pixels_in_memory() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (10, 8, 8, 3)).astype(np.uint8)
    pixels[[7, 9]] = pixels[[2, 8]]
    train, val = (
        Labelled(Pixels("here", part), np.arange(len(part)) % 2, ("a", "b")) for part in (pixels[:6], pixels[6:])
    )
    told = leakage.facts(train, val)
    assert told["first"] == [{"val": "here#1", "train": "here#2"}] and told["first_repeated"] == ["here#3"]


def test_dense_parts(tmp_path: Path) -> None:
    """One name in both lists of VOC, and a copy under another name."""
    root = scenes.make(tmp_path / "scenes", train=3, val=3, size=64) / "VOCdevkit"
    year = next(path.parent for path in root.glob("*/JPEGImages"))
    for kind in ("Segmentation", "Main"):
        lists = {part: year / f"ImageSets/{kind}/{part}.txt" for part in ("train", "val")}
        first = lists["train"].read_text().split()[0]
        lists["val"].write_text(lists["val"].read_text() + f"{first}\n")
    names = [path.read_text().split() for path in lists.values()]
    shutil.copy(year / f"JPEGImages/{names[0][1]}.jpg", year / f"JPEGImages/{names[1][0]}.jpg")
    masks = [open_segmentation(root, part) for part in ("train", "val")]
    objects = [voc.open_objects(voc.detection_parts(root, part)) for part in ("train", "val")]
    for parts in (masks, objects):
        told = leakage.facts(*parts)
        assert (told["val_in_train"], told["of"]) == (2, 4)
        assert {each["train"].rpartition("/")[2] for each in told["first"]} == {f"{name}.jpg" for name in names[0][:2]}
