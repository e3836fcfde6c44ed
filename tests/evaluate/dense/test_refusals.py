"""What dense tasks refuse, before anything is written, and what they leave out and count instead."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dotted
import little
import numpy as np
import pytest
from PIL import Image

from lewel.data import scenes

FEW = ("--iterations", 1, "--batch-size", 2, "--image-size", 48, "--lr", 0.001)
REGIONS = ("--regions", 8)
COCO_VAL = "annotations/instances_val.json"
TASKS = {"voc": "detect-voc-c4", "coco": "detect-coco-c4", "masks": "segment-voc", "faces": "landmarks"}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes and faces; nothing is wrong with them."""
    root = tmp_path_factory.mktemp("whole") / "data"
    scenes.make(root, train=2, val=2, size=48)
    for folder, seed in (("faces/train", 0), ("faces/test", 1)):
        dotted.faces(root, 2, folder, seed)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be spoiled."""
    return shutil.copytree(whole, tmp_path / "data")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluate(kind: str, weights: Path, root: Path, out: Path) -> int:
    """Of segmentation's network the weights are drawn: the file's is one that cannot be dilated."""
    source = "random:resnet18" if kind == "masks" else weights
    more = REGIONS if kind in ("voc", "coco") else ()
    return little.evaluate(TASKS[kind], source, root / "faces" if kind == "faces" else root, out, *FEW, *more)


def xml(root: Path, old: str, new: str, name: str = "val_000001") -> None:
    """Change the first of what matches."""
    path = root / scenes.VOC / "Annotations" / f"{name}.xml"
    text, changed = re.subn(old, new, path.read_text(), count=1)
    assert changed
    path.write_text(text)


def box(root: Path, x0: int, y0: int, x1: int, y1: int) -> None:
    new = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    xml(root, r"<xmin>[\s\S]*?</bndbox>", new, "train_000001")


def entries(root: Path, file: str = COCO_VAL, **changes: Any) -> None:
    """Change the first object."""
    content = json.loads((root / file).read_text())
    content["annotations"][0].update(changes)
    (root / file).write_text(json.dumps(content))


def content(root: Path, **changes: Any) -> None:
    found = json.loads((root / COCO_VAL).read_text())
    (root / COCO_VAL).write_text(json.dumps(found | changes))


def mask(root: Path, values: np.ndarray, name: str = "val_000001") -> None:
    Image.fromarray(values.astype(np.uint8)).save(root / scenes.VOC / "SegmentationClass" / f"{name}.png")


def put(root: Path, path: str, text: str) -> None:
    (root / path).write_text(text)


class Refused(NamedTuple):
    kind: str
    spoil: Callable[[Path], object]
    said: str


MAIN, SEGMENTATION = (f"{scenes.VOC}/ImageSets/{kind}" for kind in ("Main", "Segmentation"))
NOT_COUNTED = np.full((48, 48), 255)
REFUSED = {
    "voc: no split": Refused(
        "voc", lambda root: (root / MAIN / "val.txt").unlink(), r"val\.txt is missing; splits there: train, trainval"
    ),
    "coco: no split": Refused(
        "coco", lambda root: (root / COCO_VAL).unlink(), r"instances_val\.json is missing; splits there: train"
    ),
    "masks: no split": Refused(
        "masks",
        lambda root: (root / SEGMENTATION / "val.txt").unlink(),
        r"val\.txt is missing; splits there: train, trainval",
    ),
    "faces: no split": Refused("faces", lambda root: shutil.rmtree(root / "faces/test"), r"test/ or val/ is missing"),
    "voc: an empty split": Refused("voc", lambda root: put(root, f"{MAIN}/val.txt", "\n"), "names no images"),
    "coco: an empty split": Refused("coco", lambda root: content(root, images=[], annotations=[]), "names no images"),
    "masks: an empty split": Refused("masks", lambda root: put(root, f"{SEGMENTATION}/val.txt", ""), "names no images"),
    "faces: an empty folder": Refused(
        "faces", lambda root: [path.unlink() for path in (root / "faces/test").iterdir()], "test names no images"
    ),
    "faces: an empty list": Refused(
        "faces",
        lambda root: [put(root, "faces/train.txt", "train/0.png\n"), put(root, "faces/test.txt", "\n")],
        r"test\.txt names no images",
    ),
    "coco: no objects": Refused("coco", lambda root: content(root, annotations=[]), "no objects in val"),
    "masks: no pixel counts": Refused(
        "masks", lambda root: [mask(root, NOT_COUNTED, f"val_00000{number}") for number in (1, 2)], "are 255"
    ),
    "voc: another class": Refused(
        "voc", lambda root: xml(root, "<name>.*</name>", "<name>zebra</name>"), "'zebra', which is not among the 10"
    ),
    "coco: another class": Refused(
        "coco", lambda root: entries(root, category_id=11), "category_id of 11, which are not among its 10 categories"
    ),
    "masks: another class": Refused(
        "masks", lambda root: mask(root, np.full((48, 48), 11)), "has the value 11; 0 to 10 are classes"
    ),
    "coco: a mask of another size": Refused(
        "coco",
        lambda root: entries(root, segmentation={"size": [24, 48], "counts": [0, 24 * 48]}),
        "has a mask of 48 x 24 in an image of 48 x 48",
    ),
    "masks: a mask of another size": Refused(
        "masks", lambda root: mask(root, np.zeros((24, 48))), "is 48 x 24, its image 48 x 48"
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_line_before_anything_is_written(
    name: str, weights: Path, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, spoil, said = REFUSED[name]
    spoil(root)
    before = snapshot(root)
    assert evaluate(kind, weights, root, out) == 2
    line = little.told(capsys)
    assert line.startswith("lewel: --data") and re.search(said, line), line
    assert snapshot(root) == before and not out.exists()


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_an_image_of_another_size_than_its_annotations(
    kind: str, weights: Path, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that cannot be read: replaced in training, and named."""
    Image.new("RGB", (40, 30)).save(root / scenes.VOC / "JPEGImages" / "train_000001.jpg")
    Image.new("RGB", (40, 30)).save(next((root / "train").rglob("000001.jpg")))
    before = snapshot(root)
    assert evaluate(kind, weights, root, out) == 0
    (skip,) = json.loads((out / "results.json").read_bytes())["seeds"][0]["skipped"]
    assert skip["reason"] == "it is 40 x 30, its annotations are for 48 x 48" and "000001.jpg" in skip["path"]
    assert snapshot(root) == before


COCO_TRAIN = "annotations/instances_train.json"
TWO_POINTS = [[1, 1, 9, 9]]


@pytest.mark.parametrize(
    ("kind", "spoil", "said", "counted"),
    [
        ("voc", lambda root: box(root, 60, 3, 70, 9), "1 objects, or parts of them, skipped", "skipped"),
        ("voc", lambda root: box(root, 9, 3, 8, 9), "1 objects, or parts of them, skipped", "skipped"),
        ("voc", lambda root: box(root, 9, 3, 80, 9), "1 boxes reach beyond their image", "clipped_boxes"),
        ("coco", lambda root: entries(root, COCO_TRAIN, bbox=[50, 3, 9, 9]), "1 objects, or parts", "skipped"),
        ("coco", lambda root: entries(root, COCO_TRAIN, bbox=[5, 3, 0, 9]), "1 objects, or parts", "skipped"),
        ("coco", lambda root: entries(root, COCO_TRAIN, segmentation=TWO_POINTS), "1 objects, or parts", "skipped"),
    ],
    ids=["voc-outside", "voc-no-area", "voc-beyond", "coco-outside", "coco-no-area", "coco-two-points"],
)
def test_objects_that_cannot_be_used_are_told_and_counted(
    kind: str,
    spoil: Callable[[Path], object],
    said: str,
    counted: str,
    weights: Path,
    root: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(root)
    before = snapshot(root)
    assert evaluate(kind, weights, root, out) == 0
    told = " ".join(capsys.readouterr().err.split())  # lines are as wide as the screen
    assert "warning: " in told and f"train: {said}" in told
    data = little.read(out / "results.json")["data"]
    assert data["train"][counted] == 1 and data["val"]["skipped"] == data["val"]["clipped_boxes"] == 0
    assert snapshot(root) == before


def test_faces_that_cannot_be_used_are_told_and_counted(
    weights: Path, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dotted.faces(root, 3, "faces/test", 1)
    (root / "faces/test/2.png").unlink()
    assert evaluate("faces", weights, root, out) == 0
    assert "test: 1 faces skipped" in " ".join(capsys.readouterr().err.split())
    assert little.read(out / "results.json")["data"]["val"]["skipped"] == 1
