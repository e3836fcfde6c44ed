"""Objects and masks are those that pycocotools finds; what cannot be used is listed, or one line."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from lewel.data import scenes
from lewel.errors import UserError
from lewel.evaluate.dense.truth import coco

SQUARE = [2.0, 1.0, 8.0, 1.0, 8.0, 6.0, 2.0, 6.0]
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 3, "name": "car"}]


def entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    plain = {"image_id": 7, "category_id": 17, "bbox": [2, 1, 6, 5], "area": 30.0, "iscrowd": 0}
    return {"id": number, **plain, "segmentation": [SQUARE], **changes}


def put(root: Path, entries: list[dict[str, Any]], split: str = "train2017", **changes: Any) -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    Image.new("RGB", (12, 8)).save(root / split / "a.jpg")
    images = [{"id": 7, "file_name": "a.jpg", "width": 12, "height": 8}]
    content = {"images": images, "annotations": entries, "categories": CATEGORIES, **changes}
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
    return root


def api(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def check_against_pycocotools(found, theirs: COCO) -> None:
    for image in found.images:
        number = next(key for key, value in theirs.imgs.items() if value["file_name"] == image.name)
        entries = theirs.loadAnns(theirs.getAnnIds(number))
        masks = image.masks()
        assert len(entries) == len(image) and masks.shape == (len(image), image.size[1], image.size[0])
        for place, each in enumerate(entries):
            assert np.array_equal(theirs.annToMask(each).astype(bool), masks[place])
            x, y, width, height = each["bbox"]
            np.testing.assert_allclose(image.boxes[place], [x, y, x + width, y + height])
            assert found.classes[image.labels[place]] == theirs.cats[each["category_id"]]["name"]
            assert image.crowd[place] == each["iscrowd"] and image.areas[place] == each["area"]


def test_scenes_are_what_pycocotools_reads(tmp_path: Path) -> None:
    root = scenes.make(tmp_path / "scenes", train=8, val=2, size=48)
    found = coco.open_objects(root, "train")
    check_against_pycocotools(found, api(root / "annotations/instances_train.json"))
    assert len(found) == 8 and np.asarray(found.images[0].image()).shape == (48, 48, 3)


def test_polygons_and_both_kinds_of_runs(tmp_path: Path) -> None:
    plain = np.zeros((8, 12), np.uint8)
    plain[3:5, 4:9] = 1
    from pycocotools import mask

    packed = mask.encode(np.asfortranarray(plain))
    runs = {"size": [8, 12], "counts": scenes.run_lengths(plain.astype(bool))}
    text = {"size": [8, 12], "counts": packed["counts"].decode()}
    two = [SQUARE, [9.0, 6.0, 11.5, 6.0, 11.5, 8.0]]
    entries = [entry(1, segmentation=two), entry(2, segmentation=runs, iscrowd=1), entry(3, segmentation=text)]
    root = put(tmp_path, entries)
    found = coco.open_objects(root, "train")
    check_against_pycocotools(found, api(root / "annotations/instances_train2017.json"))
    assert np.array_equal(found.images[0].masks()[1], plain.astype(bool))
    assert found.facts()["crowd"] == 1


def test_the_digest_follows_the_outlines(tmp_path: Path) -> None:
    runs = {"size": [8, 12], "counts": [20, 9, 67]}
    kinds = [[SQUARE], [SQUARE[:6]], [SQUARE, SQUARE[:6]], runs, {**runs, "counts": [21, 8, 67]}]
    found = [
        coco.open_objects(put(tmp_path, [entry(segmentation=each)]), "train").digest for each in [*kinds, [SQUARE]]
    ]
    assert len(set(found)) == len(kinds) and found[0] == found[-1]


def test_categories_are_numbered_in_the_order_of_their_ids(tmp_path: Path) -> None:
    found = coco.open_objects(put(tmp_path, [entry(1), entry(2, category_id=3)]), "train")
    assert found.classes == ("car", "cat")
    assert found.images[0].labels.tolist() == [1, 0] and found.counts.tolist() == [1, 1]


def test_objects_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    entries = [
        entry(1, bbox=[2, 1, 0, 5]),
        entry(2, bbox=[-9, 1, 5, 5]),
        entry(3, segmentation=[[1, 1, 2, 2]]),
        entry(4, segmentation=[SQUARE, [1, 1, 2, 2]]),
        entry(5, bbox=[2, 1, 30, 5]),
    ]
    found = coco.open_objects(put(tmp_path, entries), "train")
    assert [skip.reason for skip in found.skipped] == [
        "object 1: box 2 1 2 6 has no area",
        "object 2: box -9 1 -4 6 is outside the image, 12 x 8",
        "object 3: 1 polygons of fewer than three points; no other, object left out",
        "object 4: 1 polygons of fewer than three points; the others are kept",
    ]
    assert found.images[0].boxes.tolist() == [[2, 1, 8, 6], [2, 1, 12, 6]] and found.clipped == 1
    assert np.array_equal(*found.images[0].masks())


def test_images_without_objects_stay(tmp_path: Path) -> None:
    found = coco.open_objects(put(tmp_path, []), "train")
    assert found.images[0].boxes.shape == (0, 4) and found.images[0].masks().shape == (0, 8, 12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"category_id": 4}, "1 objects have a category_id of 4, which are not among its 2 categories"),
        ({"image_id": 8}, "1 objects have a image_id of 8, which are not among its 1 images"),
        ({"segmentation": {"size": [12, 8], "counts": [96]}}, "object 1 has a mask of 8 x 12 in an image of 12 x 8"),
        ({"segmentation": {"size": [8, 12], "counts": [95]}}, "object 1 has a mask of"),
        (
            {"segmentation": {"size": [8, 12], "counts": [0.5, 95.5]}},
            "run lengths that are neither text nor",
        ),
        ({"segmentation": {"size": [8, 12], "counts": [97, -1]}}, "run lengths that are neither text nor"),
        (
            {"segmentation": {"size": [8, 12], "counts": None}},
            "run lengths that are neither text nor whole",
        ),
        ({"segmentation": "?"}, "object 1 has a segmentation that is a str"),
        ({"bbox": [1, 2]}, r"object 1 has the bbox \[1, 2\]; x y width height are needed"),
    ],
)
def test_objects_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        coco.open_objects(put(tmp_path, [entry(1, **changes)]), "train")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    root = put(tmp_path, [entry()])
    with pytest.raises(UserError, match=r"instances_val2017\.json or instances_val\.json is missing; .* train2017$"):
        coco.open_objects(root, "val")
    put(root, [], "val", images=[])
    with pytest.raises(UserError, match="names no images"):
        coco.open_objects(root, "val")
    put(root, [], "val", images=[{"id": 1}] * 2)
    with pytest.raises(UserError, match="1 ids of images twice"):
        coco.open_objects(root, "val")
    for text, words in (("[", "cannot be read"), ("[]", "is not COCO's"), ("{}", "is not COCO's")):
        (root / "annotations/instances_val.json").write_text(text)
        with pytest.raises(UserError, match=words):
            coco.open_objects(root, "val")
    (root / "train2017/a.jpg").unlink()
    with pytest.raises(UserError, match=r"of the 1 images of .* none is there, such as .*a\.jpg"):
        coco.open_objects(root, "train")


def test_splits_by_the_names_of_other_tools(tmp_path: Path) -> None:
    """COCO's own of 2017 go before any other; a test split is never measured on in the place of val."""
    for split in ("Training", "valid", "test"):
        put(tmp_path, [entry()], split)
    assert [coco.open_objects(tmp_path, part).split for part in ("train", "val")] == ["Training", "valid"]
    put(tmp_path, [entry()], "dev")
    with pytest.raises(UserError, match="dev and valid are all names of the part for val"):
        coco.open_objects(tmp_path, "val")
    put(tmp_path, [entry()], "val2017")
    assert coco.open_objects(tmp_path, "val").split == "val2017"
    for other in ("valid", "dev", "val2017"):
        (tmp_path / f"annotations/instances_{other}.json").unlink()
    with pytest.raises(UserError, match=r"instances_val.json is missing; splits there: Training, test"):
        coco.open_objects(tmp_path, "val")
