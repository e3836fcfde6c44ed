"""Boxes, flags and classes are those that torchvision finds, 0-based; what cannot be used is listed, or one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from lewel.data import scenes
from lewel.data.decode import DecodeError
from lewel.data.scene_objects import CLASSES
from lewel.errors import UserError
from lewel.evaluate.dense.truth import voc, voc_xml

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


def test_images_of_another_size_than_their_boxes(tmp_path: Path) -> None:
    """One is told, and cannot be read; where all are, the data are refused."""
    found = opened(put(tmp_path, "train", {"a": xml([DOG], size=(500, 375)), "b": xml([DOG])}))
    with pytest.raises(DecodeError, match="it is 20 x 10, its annotations are for 500 x 375"):
        found.images[0].image()
    (told,) = found.warnings()
    assert "1 of 2 images cannot be used" in told and "a.jpg: it is 20 x 10, its annotations are for 500 x 375" in told
    with pytest.raises(UserError, match=r"no image of .* can be used; .*a\.jpg: it is 20 x 10"):
        opened(put(tmp_path / "all", "train", {"a": xml([DOG], size=(500, 375))}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (xml([("dgo", (1, 1, 2, 2))]), "class 'dgo', which is not among the 20; did you mean dog"),
        ("<annotation>", "cannot be read: no element found"),
        ("<annotation><object><name>dog</name></object></annotation>", r"object 1 \(dog\) has no bndbox"),
        (xml([("dog", ("?", 1, 2, 2))]), r"object 1 \(dog\) has xmin '\?', which is no number"),
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


OBJECT = (
    "<object><name>dog</name>{}<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>"
)


def annotation(objects: str = "", size: str = "<width>20</width><height>10</height>") -> str:
    return f"<annotation><size>{size}</size>{objects}</annotation>"


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
REFUSED = {
    "entities": (f'<!DOCTYPE a [<!ENTITY e0 "ha">{BOMB}]>{annotation("&e9;")}', "it has a DOCTYPE, which may declare"),
    "a file from elsewhere": (
        f'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>{annotation("&e;")}',
        "it has a DOCTYPE",
    ),
    "a page": ("<html><body/></html>", "it is 'html', not an annotation of VOC"),
    "nothing": ("", "no element found"),
    "half a tag": ("<annotation><obj", "unclosed token"),
    "another encoding": (f'<?xml version="1.0" encoding="none-such"?>{annotation()}', "unknown encoding"),
    "bytes": (annotation("<object><name>café</name></object>").encode("latin-1"), "not well-formed"),
    "no name": (annotation(OBJECT.replace("<name>dog</name>", "").format("")), "object 1 has no name"),
    "an empty name": (annotation(OBJECT.replace(">dog<", "> <").format("")), "object 1 has no name"),
    "no xmax": (annotation(OBJECT.replace("<xmax>20</xmax>", "").format("")), r"object 1 \(dog\) has no xmax"),
    "an empty xmax": (annotation(OBJECT.replace(">20<", "><").format("")), r"\(dog\) has xmax '', which is no number"),
    "difficult of text": (
        annotation(OBJECT.format("<difficult>?</difficult>")),
        r"\(dog\) has difficult '\?'; it is 0",
    ),
    "another case": (annotation(OBJECT.replace("dog", "Dog").format("")), "class 'Dog', which is not .* mean dog"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(tmp_path: Path, name: str) -> None:
    text, words = REFUSED[name]
    year = put(tmp_path, "train", {"a": annotation()})
    (year / "Annotations/a.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words) as error:
        opened(year)
    assert str(error.value).count("a.xml") == str(error.value).count("--data") == 1 and "\n" not in str(error.value)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    year = put(tmp_path, "train", {"a": annotation()})
    file = year / "Annotations/a.xml"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match=r"a\.xml cannot be read: it is not a regular file"):
        opened(year)
    file.unlink()
    file.write_bytes(b" " * (voc_xml.MOST + 1))
    with pytest.raises(UserError, match=r"a\.xml has 8,388,609 bytes; at most 8,388,608 are read"):
        opened(year)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_xml(tmp_path: Path, encoding: str) -> None:
    year = put(tmp_path, "train", {"a": ""})
    (year / "classes.txt").write_text("naïve dog\n", encoding=encoding)
    (year / "Annotations/a.xml").write_text(annotation(OBJECT.replace("dog", " naïve dog ").format("")), encoding)
    found = opened(year)
    assert found.classes == ("naïve dog",) and found.images.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "difficult"), [("", False), ("<difficult/>", False), ("<difficult> 1 </difficult>", True)]
)
def test_difficult(tmp_path: Path, text: str, difficult: bool) -> None:
    found = opened(put(tmp_path, "train", {"a": annotation(OBJECT.format(text))}))
    assert found.images.difficult.tolist() == [difficult]


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<width>0</width><height>0</height>",
        "<width>-1</width><height>10</height>",
        "<width>20</width>",
        "<width>wide</width><height>10</height>",
        "<width>nan</width><height>10</height>",
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_sizes_that_are_none_are_the_images_own(tmp_path: Path, size: str, orientation: int) -> None:
    """As the image is read: upright."""
    year, exif = put(tmp_path, "train", {"a": annotation(OBJECT.format(""), size)}), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(year / "JPEGImages/a.jpg", exif=exif)
    found = opened(year)
    assert found.images[0].image().size == found.images[0].size == ((20, 10) if orientation == 1 else (10, 20))
    assert "1 files have no usable size: the images' own are taken" in " ".join(found.warnings())
    (year / "JPEGImages/a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.xml has no usable size, and its image cannot be read: .*a\.jpg: not an"):
        opened(year)


def test_boxes_that_begin_at_0_are_told(tmp_path: Path) -> None:
    found = opened(put(tmp_path, "train", {"a": xml([("dog", (0, 0, 19, 9)), ("cat", (1, 1, 9.5, 9.5))])}))
    assert found.images[0].boxes.tolist() == [[0, 0, 19, 9], [0, 0, 9.5, 9.5]] and found.clipped == 0
    assert list(found.warnings()) == [
        f"{tmp_path.name} train: 1 boxes begin at 0, where VOC's first pixel is 1: they may be counted from 0, but are "
        "read as counted from 1"
    ]


def test_images_with_other_extensions(tmp_path: Path) -> None:
    year = put(tmp_path, "train", {"a": xml([DOG]), "b": xml([DOG]), "c.v2": xml([]), "d": xml([])})
    for old, new in (("a", "a.png"), ("b", "b.JPG"), ("c.v2", "c.v2.JPEG")):
        (year / "JPEGImages" / f"{old}.jpg").unlink()
        Image.new("RGB", (20, 10)).save(year / "JPEGImages" / new)
    (year / "Annotations/b.xml").rename(year / "Annotations/b.XML")
    Image.new("RGB", (99, 10)).save(year / "JPEGImages/d.png")  # there is a d.jpg
    found = opened(year)
    assert [image.path.name for image in found.images] == ["a.png", "b.JPG", "c.v2.JPEG", "d.jpg"]
    assert all(image.image().size == (20, 10) for image in found.images) and not list(found.warnings())
    (year / "JPEGImages/d.jpg").rename(year / "JPEGImages/d.bmp")
    with pytest.raises(UserError, match=r"d\.jpg may be d\.bmp and d\.png in .*JPEGImages; keep one"):
        opened(year)


def test_images_that_are_missing(tmp_path: Path) -> None:
    year = put(tmp_path, "train", {"a": xml([DOG]), "b": xml([DOG])})
    (year / "JPEGImages/a.jpg").unlink()
    (told,) = opened(year).warnings()
    assert "1 of 2 images are not there, such as" in told and "a.jpg: replaced in training, left out of" in told
    (year / "JPEGImages/b.jpg").unlink()
    with pytest.raises(UserError, match=r"of the 2 images of .* none is there, such as .*a\.jpg"):
        opened(year)


@pytest.mark.parametrize(
    "text",
    [
        b"a\nmy dog 1\n",
        b"\xef\xbb\xbfa\r\n\r\nmy dog 1\r\n",
        b"a -1\nmy dog 1  1\n",
        b"a.jpg\nmy dog 1.png\n",
        b"a.xml\n  my dog 1.JPG  \n",
        "a\nmy dog 1\n".encode("utf-16"),
        b"a\rmy dog 1\r",
        b"a  0\nmy dog 1 -1",
    ],
)
def test_lists_of_names(tmp_path: Path, text: bytes) -> None:
    """A name may have spaces and end as a flag does."""
    year = put(tmp_path, "train", {"a": xml([DOG]), "my dog 1": xml([])})
    (year / "ImageSets/Main/train.txt").write_bytes(text)
    assert voc.names(year, "Main", "train") == ["a", "my dog 1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("café\ncat\n".encode("latin-1"), r"'caf\\xe9', line 1, is not UTF-8; save the file as UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "is a picture, not text"),
        (b"PK\x03\x04", "is a ZIP or Excel file"),
        (b"\n \n", "a class on each line is needed"),
        (b"cat\ncat \n", "each once"),
        ("cat\n".encode("utf-16")[:-1], "is damaged UTF-16"),
    ],
)
def test_classes_that_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        voc.classes(tmp_path)
    assert str(error.value).count("classes.txt") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_classes(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes("café au lait\r\n\r\n cat\r\n".encode(encoding))
    if encoding == "utf-8":
        assert voc.classes(tmp_path / "none") == voc.CLASSES
    assert voc.classes(tmp_path) == ("café au lait", "cat")
