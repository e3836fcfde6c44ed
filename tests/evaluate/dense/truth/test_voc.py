"""Boxes, flags and classes are those that torchvision finds, 0-based; what cannot be used is listed, or one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from lewel.data import scenes
from lewel.data.decode import DecodeError
from lewel.data.scene_objects import CLASSES
from lewel.errors import UserError
from lewel.evaluate.dense.truth import voc

DOG = ("dog", (1, 1, 20, 10))


def xml(objects: list[tuple], size: tuple[int, int] = (20, 10), flags: str = "") -> str:
    entries = "".join(
        f"<object><name>{name}</name>{flags}<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part><bndbox>"
        + "".join(
            f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for name, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{entries}</annotation>"


def put(year: Path, split: str, images: dict[str, str]) -> Path:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (year / folder).mkdir(parents=True, exist_ok=True)
    for name, text in images.items():
        Image.new("RGB", (20, 10)).save(year / "JPEGImages" / f"{name}.jpg")
        (year / "Annotations" / f"{name}.xml").write_text(text)
    (year / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
    return year


def opened(year: Path, split: str = "train"):
    return voc.open_objects([voc.Part(year, split)])


def test_scenes_are_what_torchvision_reads(tmp_path: Path) -> None:
    root = scenes.make(tmp_path / "scenes", train=12, val=2, size=48)
    ours = voc.open_objects(voc.detection_parts(root, "train"))
    theirs = VOCDetection(str(root), "2012", "train")
    assert len(ours) == len(theirs) == 12 and ours.classes == CLASSES
    for image, (picture, content) in zip(ours.images, theirs, strict=True):
        assert image.size == picture.size and np.array_equal(np.asarray(image.image()), np.asarray(picture))
        entries = content["annotation"]["object"]
        assert [ours.classes[label] for label in image.labels] == [entry["name"] for entry in entries]
        for place, entry in enumerate(entries):
            x0, y0, x1, y1 = (int(entry["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            assert image.boxes[place].tolist() == [x0 - 1, y0 - 1, x1, y1]
            assert image.areas[place] == (x1 - x0 + 1) * (y1 - y0 + 1)
            assert image.difficult[place] == (entry["difficult"] == "1")
    facts = ours.facts()
    assert facts["objects"] == sum(map(len, ours.images)) and facts["skipped"] == facts["clipped_boxes"] == 0
    assert facts["difficult"] == sum(int(image.difficult.sum()) for image in ours.images)


def test_a_box_of_all_pixels_is_the_whole_image(tmp_path: Path) -> None:
    flags = "<difficult>1</difficult>"
    image = opened(put(tmp_path, "train", {"a": xml([("dog", (1, 1, 20, 10))], flags=flags)})).images[0]
    assert image.boxes.tolist() == [[0, 0, 20, 10]] and image.difficult.all()


def test_images_without_objects_stay(tmp_path: Path) -> None:
    found = opened(put(tmp_path, "train", {"a": xml([]), "b": xml([DOG])}))
    assert found.images[0].boxes.shape == (0, 4) and found.facts()["without_objects"] == 1


def test_objects_without_a_usable_box_are_listed(tmp_path: Path) -> None:
    wrong = [("cat", (5, 5, 4, 8)), ("cat", (30, 1, 40, 5)), ("cat", (1, 1, "nan", 5)), ("cat", (-9, 2, 26, 5))]
    found = opened(put(tmp_path, "train", {"a": xml([*wrong, DOG])}))
    assert [skip.reason for skip in found.skipped] == [
        "object 1 (cat): box 4 4 4 8 has no area",
        "object 2 (cat): box 29 0 40 5 is outside the image, 20 x 10",
        "object 3 (cat): box 0 0 nan 5 is not a number",
    ]
    assert found.images[0].boxes.tolist() == [[0, 1, 20, 5], [0, 0, 20, 10]]  # cut at the border
    assert found.clipped == 1 and len(list(found.warnings())) == 2
    assert found.facts()["skipped"] == 3


def test_the_digest_follows_what_counts(tmp_path: Path) -> None:
    first = opened(put(tmp_path / "a", "train", {"a": xml([DOG])})).digest
    assert first == opened(put(tmp_path / "b", "train", {"a": xml([DOG])})).digest
    for name, changed in (("c", [("cat", DOG[1])]), ("d", [("dog", (1, 1, 20, 9))]), ("e", [])):
        assert first != opened(put(tmp_path / name, "train", {"a": xml(changed)})).digest


def test_the_protocols_parts(tmp_path: Path) -> None:
    """trainval of both years and test of 2007, as soon as they are there."""
    top = tmp_path / "VOCdevkit"
    new = put(top / "VOC2012", "train", {"x": xml([DOG])})
    assert voc.detection_parts(tmp_path, "train") == [voc.Part(new, "train")]
    assert voc.detection_parts(new, "val") == [voc.Part(new, "val")]
    put(new, "trainval", {"x": xml([DOG]), "y": xml([])})
    old = put(top / "VOC2007", "trainval", {"1": xml([DOG])})
    put(old, "test", {"2": xml([DOG])})
    assert voc.detection_parts(top, "train") == [voc.Part(old, "trainval"), voc.Part(new, "trainval")]
    assert voc.detection_parts(top, "val") == [voc.Part(old, "test")]
    found = voc.open_objects(voc.detection_parts(top, "train"))
    assert [image.name for image in found.images] == ["1", "x", "y"]
    assert found.split == "VOC2007 trainval and VOC2012 trainval"


def test_an_image_of_another_size_than_its_boxes(tmp_path: Path) -> None:
    found = opened(put(tmp_path, "train", {"a": xml([DOG], size=(500, 375))}))
    with pytest.raises(DecodeError, match="it is 20 x 10, its annotations are for 500 x 375"):
        found.images[0].image()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (xml([("dgo", (1, 1, 2, 2))]), "class 'dgo', which is not among the 20; did you mean dog"),
        ("<annotation>", "cannot be read: no element found"),
        ("<annotation><object><name>dog</name></object></annotation>", "an object has no bndbox"),
        (xml([("dog", ("?", 1, 2, 2))]), "cannot be read: could not convert"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path: Path, text: str, words: str) -> None:
    year = put(tmp_path, "train", {"a": text})
    with pytest.raises(UserError, match=words):
        opened(year)


def test_splits_that_do_not_fit(tmp_path: Path) -> None:
    year = put(tmp_path, "train", {"a": xml([DOG])})
    put(year, "dog_val", {})
    put(year, "empty", {})
    (year / "ImageSets/Main/twice.txt").write_text("a 1\na -1\n")
    for split, words in (
        ("val", "val.txt is missing; splits there: empty, train, twice$"),
        ("empty", "names no images"),
        ("twice", "names a twice"),
    ):
        with pytest.raises(UserError, match=words):
            opened(year, split)
    with pytest.raises(UserError, match="has no VOC data"):
        voc.years(tmp_path / "nowhere")
    (year / "Annotations/a.xml").unlink()
    with pytest.raises(UserError, match=r"a\.xml cannot be read: No such file"):
        opened(year)
