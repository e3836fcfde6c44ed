"""Scenes: the same bytes each time, and boxes, masks, areas, labels and lists that agree with each other."""

from __future__ import annotations

import hashlib
import json
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder, VOCDetection, VOCSegmentation

from lewel.data import scene_paint, scenes
from lewel.errors import UserError

SETTINGS = {"train": 60, "val": 20, "size": 64, "seed": 3}
VOC = "VOCdevkit/VOC2012"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("work") / "scenes", **SETTINGS)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def coco(root: Path, split: str) -> dict[str, Any]:
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


def decode(segmentation: dict[str, Any]) -> np.ndarray:
    """COCO's run lengths, by its definition: 0 first, then in turn, down the columns."""
    height, width = segmentation["size"]
    flat = [k % 2 == 1 for k, length in enumerate(segmentation["counts"]) for _ in range(length)]
    return np.array(flat).reshape(width, height).T


def by_image(root: Path, split: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    content = coco(root, split)
    return [
        (image, [entry for entry in content["annotations"] if entry["image_id"] == image["id"]])
        for image in content["images"]
    ]


def test_same_bytes_from_one_process_and_from_two(root: Path, tmp_path: Path) -> None:
    assert digests(scenes.make(tmp_path / "again", workers=2, **SETTINGS)) == digests(root)


def test_an_image_depends_on_nothing_but_seed_split_and_number(root: Path, tmp_path: Path) -> None:
    more = digests(scenes.make(tmp_path / "more", **SETTINGS | {"train": 70}))
    fewer = digests(root)
    pictures = [name for name in fewer if name.endswith((".jpg", ".png", ".xml"))]
    assert len(pictures) == 4 * 80
    assert all(more[name] == fewer[name] for name in pictures)


def test_seeds_splits_and_numbers_give_different_pictures(root: Path, tmp_path: Path) -> None:
    other = scenes.make(tmp_path / "other", **SETTINGS | {"seed": 4})
    seen = [digest for folder in (root, other) for name, digest in digests(folder).items() if "JPEGImages" in name]
    assert len(seen) == len(set(seen)) == 160


def test_classes_are_balanced_and_files_are_photographs(root: Path) -> None:
    folder = ImageFolder(str(root / "train"))
    assert folder.classes == list(scenes.CLASSES) == sorted(scenes.CLASSES)
    assert set(Counter(folder.targets).values()) == {6}
    for path, _ in folder.samples:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_areas_and_masks_agree(root: Path, split: str) -> None:
    for _, entries in by_image(root, split):
        shown = np.zeros((64, 64), int)
        for entry in entries:
            mask = decode(entry["segmentation"])
            rows, columns = np.nonzero(mask)
            left, top, width, height = entry["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
            assert entry["area"] == mask.sum() > 0
            shown += mask
        assert shown.max() == 1, "a pixel shows one object at most"


def test_class_of_the_folder_is_the_object_that_shows_the_most(root: Path) -> None:
    content = coco(root, "train")
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image, entries in by_image(root, "train"):
        largest = max(entries, key=lambda entry: entry["area"])
        assert image["file_name"].split("/")[0] == names[largest["category_id"]]
        assert sum(entry["area"] == largest["area"] for entry in entries) == 1


def test_ids_are_unique_and_resolve(root: Path) -> None:
    content = coco(root, "val")
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    assert {entry["image_id"] for entry in content["annotations"]} == {image["id"] for image in content["images"]}
    assert {category["id"] for category in content["categories"]} == set(range(1, 11))
    assert all((root / "val" / image["file_name"]).is_file() for image in content["images"])


def test_some_scenes_hold_several_objects_and_some_objects_are_hidden_in_part(root: Path) -> None:
    counts = Counter(len(entries) for _, entries in by_image(root, "train"))
    assert counts[1] > 0 and sum(counts[k] for k in (2, 3, 4)) > 20 and set(counts) <= {1, 2, 3, 4}
    flags = [node.text for path in (root / VOC / "Annotations").iterdir() for node in tree(path).iter("occluded")]
    assert 0.1 < flags.count("1") / len(flags) < 0.9


def tree(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_bytes())


@pytest.mark.parametrize("split", ["train", "val"])
def test_voc_agrees_with_coco(root: Path, split: str) -> None:
    names = {category["id"]: category["name"] for category in coco(root, split)["categories"]}
    for image, entries in by_image(root, split):
        voc = f"{split}_{Path(image['file_name']).name}"
        found = tree(root / VOC / "Annotations" / voc.replace(".jpg", ".xml"))
        assert found.findtext("filename") == voc
        assert (root / VOC / "JPEGImages" / voc).read_bytes() == (root / split / image["file_name"]).read_bytes()
        boxes = []
        for thing in found.iter("object"):
            x0, y0, x1, y1 = (int(thing.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((thing.findtext("name"), [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]))
        assert boxes == [(names[entry["category_id"]], entry["bbox"]) for entry in entries]


def test_class_masks_are_the_instances_with_their_outlines_void(root: Path) -> None:
    for image, entries in by_image(root, "train"):
        name = f"train_{Path(image['file_name']).stem}.png"
        with Image.open(root / VOC / "SegmentationClass" / name) as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]  # as published with VOC: dark red, dark green
            mask = np.asarray(picture)
        expected = sum(entry["category_id"] * decode(entry["segmentation"]) for entry in entries)
        void = mask == 255
        assert 0 < void.mean() < 0.2
        assert (mask == expected)[~void].all()


def test_lists_name_every_image_once(root: Path) -> None:
    for task in ("Main", "Segmentation"):
        lists = {
            name: (root / VOC / "ImageSets" / task / f"{name}.txt").read_text().split()
            for name in ("train", "val", "trainval")
        }
        assert lists["trainval"] == lists["train"] + lists["val"]
        assert len(set(lists["train"])) == 60 and len(set(lists["val"])) == 20
        assert {path.stem for path in (root / VOC / "JPEGImages").iterdir()} == set(lists["trainval"])


def test_torchvision_reads_the_voc_folder(root: Path) -> None:
    image, target = VOCDetection(str(root), "2012", "val")[7]
    assert image.size == (64, 64) and target["annotation"]["object"]
    image, mask = VOCSegmentation(str(root), "2012", "train")[5]
    assert image.size == mask.size


def test_a_finished_folder_is_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert scenes.make(root, **SETTINGS) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_folder_is_completed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    work = tmp_path / "cut"
    with monkeypatch.context() as patched:
        patched.setattr(scenes, "write_lists", fail)
        with pytest.raises(KeyboardInterrupt):
            scenes.make(work, **SETTINGS)
    assert not (work / "scenes.json").exists()
    (work / "train" / "ball" / "000001.jpg").write_bytes(b"half of")
    (work / "val" / "brick" / "000002.jpg").unlink()
    scenes.make(work, **SETTINGS)
    assert digests(work) == digests(root)


def test_a_lost_image_is_made_again(tmp_path: Path) -> None:
    work = scenes.make(tmp_path / "lost", train=10, val=10, size=32)
    before = digests(work)
    (work / "train" / "ball" / "000001.jpg").unlink()
    assert digests(scenes.make(work, train=10, val=10, size=32)) == before


def test_other_settings_and_strangers_files_are_refused(root: Path, tmp_path: Path) -> None:
    before = digests(root)
    with pytest.raises(UserError, match=r"seed 3.*seed 9.*another folder"):
        scenes.make(root, **SETTINGS | {"seed": 9})
    assert digests(root) == before
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no scenes"):
        scenes.make(tmp_path, **SETTINGS)
    assert os.listdir(tmp_path) == ["diary.txt"]


@pytest.mark.parametrize("wrong", [{"train": 0}, {"size": 16}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        scenes.make(tmp_path / "x", **SETTINGS | wrong)
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_outside_the_folder_and_nothing_is_left_over(root: Path) -> None:
    assert [path.name for path in root.parent.iterdir()] == ["scenes"]
    assert {path.name for path in root.iterdir()} == {"train", "val", "annotations", "VOCdevkit", "scenes.json"}
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("kind", range(10))
def test_kinds_are_distinct_in_shape_and_texture(kind: int) -> None:
    """No other kind has nearly the same outline, or the same texture within it."""
    steps = np.linspace(-1, 1, 65, dtype=np.float32)
    u, v = np.meshgrid(steps, steps)
    mine = scene_paint.KINDS[kind]
    inside = mine.shape(u, v) > 0
    assert 0.2 < inside.mean() < 0.7
    assert not inside[np.hypot(u, v) > 1.1].any()
    for other in scene_paint.KINDS[:kind] + scene_paint.KINDS[kind + 1 :]:
        theirs = other.shape(u, v) > 0
        assert (inside & theirs).sum() / (inside | theirs).sum() < 0.85
        first, second = mine.texture(u, v, 1.0)[inside], other.texture(u, v, 1.0)[inside]
        assert np.corrcoef(first, second)[0, 1] < 0.6


def test_color_does_not_give_the_class_away() -> None:
    """Nearest class mean on the mean and the spread of each colour channel stays near the chance of 10 %."""

    def described(split: int, count: int) -> np.ndarray:
        pictures = (scene_paint.paint(np.random.default_rng([split, i]), i % 10, 48).pixels for i in range(count))
        return np.array([[*picture.mean((0, 1)), *picture.std((0, 1))] for picture in pictures])

    known, asked = described(0, 300), described(1, 200)
    means = np.array([known[kind::10].mean(0) for kind in range(10)])
    found = np.linalg.norm(asked[:, None] - means, axis=-1).argmin(1)
    assert (found == np.arange(200) % 10).mean() < 0.25
