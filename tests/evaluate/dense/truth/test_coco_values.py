"""What a COCO file may hold in each place: refused in one line, read with a remark, or left out and listed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lewel.errors import UserError
from lewel.evaluate.dense.truth import coco
from lewel.evaluate.dense.truth.annotations import Annotations

SIZE = (64, 48)
NAN, INF = float("nan"), float("inf")
Change = Callable[[dict[str, Any]], object]


def plain() -> dict[str, Any]:
    """Three images with two objects each: of 20 x 15 pixels, of two categories."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in (1, 2, 3)]
    found = []
    for i in (1, 2, 3):
        for j, x in enumerate((5, 30)):
            polygon = [x, 5, x + 20, 5, x + 20, 20, x, 20]
            row = {"id": len(found) + 1, "image_id": i, "category_id": 1 + j, "bbox": [x, 5, 20, 15], "area": 300}
            found.append(row | {"iscrowd": 0, "segmentation": [polygon]})
    return {"images": images, "annotations": found, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "val").mkdir()
    for i in (1, 2, 3):
        Image.new("RGB", SIZE).save(root / f"val/{i}.jpg")
    return root


def opened(root: Path, change: Change) -> Annotations:
    content = plain()
    change(content)
    return written(root, json.dumps(content).encode())


def written(root: Path, content: bytes) -> Annotations:
    (root / "annotations/instances_val.json").write_bytes(content)
    return coco.open_objects(root, "val")


def entry(**changes: Any) -> Change:
    """Of the object 6, the last."""
    return lambda content: content["annotations"][5].update(changes)


def without(key: str, of: str = "annotations") -> Change:
    return lambda content: content[of][-1].pop(key)


def image(**changes: Any) -> Change:
    return lambda content: content["images"][-1].update(changes)


def category(**changes: Any) -> Change:
    return lambda content: content["categories"][-1].update(changes)


def top(**changes: Any) -> Change:
    return lambda content: content.update(changes)


REFUSED: dict[str, tuple[Change, str]] = {
    "bbox of text": (entry(bbox=["30", 5, 20, 15]), "object 6 has a bbox with '30', which is no number"),
    "bbox of truth": (entry(bbox=[True, 5, 20, 15]), "object 6 has a bbox with True, which is no number"),
    "bbox of nothing": (entry(bbox=[None, 5, 20, 15]), "object 6 has a bbox with None, which is no number"),
    "bbox is too large": (entry(bbox=[10**400, 5, 20, 15]), "object 6 has a bbox with a number that is too large"),
    "bbox is text": (entry(bbox="30 5 20 15"), "object 6 has the bbox '30 5 20 15'; x y width height are needed"),
    "bbox is short": (entry(bbox=[1, 2, 3]), r"object 6 has the bbox \[1, 2, 3\]; x y width height"),
    "no bbox": (without("bbox"), "object 6 has no bbox"),
    "no bbox nor id": (lambda c: [without(k)(c) for k in ("bbox", "id")], "object number 6 of the file has no bbox"),
    "crowd of another number": (entry(iscrowd=2), "object 6 has iscrowd 2; it is 0 or 1"),
    "crowd of nothing": (entry(iscrowd=None), "object 6 has iscrowd None; it is 0 or 1"),
    "crowd that is no number": (entry(iscrowd=NAN), "object 6 has iscrowd nan; it is 0 or 1"),
    "crowd of other text": (entry(iscrowd="maybe"), "object 6 has iscrowd 'maybe'; it is 0 or 1"),
    "polygon of text": (entry(segmentation=[["1", 2, 3, 4, 5, 6]]), "object 6 has a polygon with '1', which is no"),
    "polygon of truth": (entry(segmentation=[[True, 2, 3, 4, 5, 6]]), "object 6 has a polygon with True, which is no"),
    "polygon of nothing": (entry(segmentation=[[None, 2, 3, 4, 5, 6]]), "object 6 has a polygon with None"),
    "polygon of pairs": (entry(segmentation=[[[1, 2], [3, 4], [5, 6]]]), r"object 6 has a polygon with \[1, 2\]"),
    "a flat polygon": (entry(segmentation=[1, 2, 3, 4, 5, 6]), "object 6 has a polygon that is 1; each is a list"),
    "segmentation of text": (entry(segmentation="square"), "object 6 has a segmentation that is a str"),
    "runs of garbage": (entry(segmentation={"size": [48, 64], "counts": "b'x!'"}), "object 6 has run lengths with"),
    "runs without a size": (entry(segmentation={"counts": [3072]}), "object 6 has run lengths without a size"),
    "another image": (
        entry(image_id=9),
        "1 objects have a image_id of 9, which are not among its 3 images; .* object 6",
    ),
    "image id of text": (entry(image_id="3"), "1 objects have a image_id of '3', which are not among its 3 images"),
    "image id of truth": (entry(image_id=True), "1 objects have a image_id of True, which"),
    "image id that is no number": (entry(image_id=NAN), "1 objects have a image_id of nan, which"),
    "image id that is a list": (entry(image_id=[1]), r"1 objects have a image_id of \[1\], which"),
    "no image id": (without("image_id"), "object 6 has no image_id"),
    "another category": (entry(category_id=7), "1 objects have a category_id of 7, which are not among its 2 cat"),
    "no category": (without("category_id"), "object 6 has no category_id"),
    "an object that is a list": (lambda c: c["annotations"].append([1]), r"object number 7 of the file is \[1\], no"),
    "an image that is text": (lambda c: c["images"].append("4.jpg"), "image number 4 of the file is '4.jpg', no"),
    "image without id": (without("id", "images"), "image number 3 of the file has no id"),
    "image with an id of truth": (
        image(id=True),
        "image number 3 of the file has the id True; ids are numbers or text",
    ),
    "image with an id of nan": (image(id=NAN), "image number 3 of the file has the id nan"),
    "two images of an id": (image(id=2), "1 ids of images twice, such as 2"),
    "two images of a file": (image(file_name="2.jpg"), "images 2 and 3 have the same file_name, 2.jpg"),
    "one file, two spellings": (image(file_name="./2.jpg"), "images 2 and 3 are the same file, .*2.jpg"),
    "image without a file": (without("file_name", "images"), "image 3 has no file_name"),
    "image with a number": (image(file_name=3), "image 3 has the file_name 3; the name of its file is needed"),
    "image with half a letter": (image(file_name="\ud800.jpg"), r"image 3 has the file_name '\\ud800.jpg'"),
    "image with a nul": (image(file_name="a\0.jpg"), "image 3 has the file_name"),
    "an image without a size nor a file": (
        image(file_name="9.jpg", width=0),
        "image 3 has no usable width and height, and cannot be read: .*9.jpg: no such file",
    ),
    "no image there": (
        lambda c: [each.update(file_name=f"no{each['id']}.jpg") for each in c["images"]],
        "of the 3 images of .*val.json none is there, such as .*val/no1.jpg",
    ),
    "no image of its size": (
        lambda c: [each.update(width=48, height=48) for each in c["images"]],
        r"no image of .* can be used; .*1\.jpg: it is 64 x 48, its annotations are for 48 x 48",
    ),
    "two categories of an id": (category(id=1), "1 ids of categories twice, such as 1"),
    "two categories of a name": (category(name="cat"), "categories 1 and 2 are both named cat"),
    "category without a name": (without("name", "categories"), "category 2 has no name; text is needed"),
    "category of nothing": (category(name=None), "category 2 has the name None; text is needed"),
    "category of blanks": (category(name=" "), "category 2 has the name ' '; text is needed"),
    "category of half a letter": (category(name="\udfff\ud800"), "category 2 has the name"),
    "categories of two kinds": (
        lambda c: [category(id="dog")(c), [each.update(category_id=1) for each in c["annotations"]]],
        "some ids of categories are numbers and others text",
    ),
    "no categories": (lambda c: c.pop("categories"), "is not COCO's: .* categories is missing"),
    "images of another kind": (top(images={"1": {}}), "is not COCO's: .* images is {'1': {}}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str, files: Path) -> None:
    """The file is named once, and so is the flag."""
    change, words = REFUSED[name]
    with pytest.raises(UserError) as error:
        opened(files, change)
    told = str(error.value)
    assert re.search(words, told), told
    assert told.count("--data") == 1 and told.count("instances_val.json") <= 1 and "\n" not in told and len(told) < 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read: Expecting value"),
        (b"[", "cannot be read"),
        (b"[]", "is not COCO's: it is a list of JSON"),
        (b'"text"', "is not COCO's: it is a str"),
        (b"null", "is not COCO's: it is a NoneType"),
        (b"[" * 100_000, "cannot be read: .*recursion"),
        (b'{"images": "\xe9"}', r"is not UTF-8 \(byte 0xe9 at 12\); save it as UTF-8"),
        (b'{"images": [' + b"1" * 5000 + b"]}", "cannot be read: Exceeds the limit"),
        (b'{"images": []}', "names no images|is not COCO's"),
    ],
)
def test_files_that_are_no_annotations(content: bytes, words: str, files: Path) -> None:
    with pytest.raises(UserError, match=words) as error:
        written(files, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_of_json(encoding: str, files: Path) -> None:
    content = plain()
    category(name="café")(content)
    found = written(files, json.dumps(content, ensure_ascii=False).encode(encoding))
    assert found.classes == ("cat", "café") and not list(found.warnings())


REMARKS: dict[str, tuple[Change, list[str], dict[str, Any]]] = {
    "nothing": (lambda c: None, [], {}),
    "no area": (without("area"), ["1 objects have no usable area: those of their masks are taken"], {}),
    "area of nan": (entry(area=NAN), ["1 objects have no usable area"], {}),
    "area of inf": (entry(area=INF), ["1 objects have no usable area"], {}),
    "area below 0": (entry(area=-300), ["1 objects have no usable area"], {}),
    "area of 0": (entry(area=0), ["1 objects have no usable area"], {}),
    "area of text": (entry(area="300"), ["1 objects have no usable area"], {}),
    "area of truth": (entry(area=True), ["1 objects have no usable area"], {}),
    "no area at all": (
        lambda c: [each.pop("area") for each in c["annotations"]],
        ["6 objects have no usable area: those of their masks are taken"],
        {},
    ),
    "no masks": (
        lambda c: [[each.pop("segmentation"), each.pop("area")] for each in c["annotations"]],
        ["6 objects have no usable area: those of their boxes are taken"],
        {},
    ),
    "no crowds": (lambda c: [each.pop("iscrowd") for each in c["annotations"]], [], {}),
    "crowd of text": (entry(iscrowd="0"), ["1 objects have iscrowd as text"], {}),
    "crowd that is one, of text": (entry(iscrowd="1"), ["1 objects have iscrowd as text"], {"crowd": 1}),
    "crowd of truth": (entry(iscrowd=True), [], {"crowd": 1}),
    "crowd of a float": (entry(iscrowd=1.0), [], {"crowd": 1}),
    "sizes of -1": (image(width=-1, height=-1), ["1 images have no usable width and height"], {}),
    "sizes of 0": (lambda c: [i.update(width=0, height=0) for i in c["images"]], ["3 images have no usable"], {}),
    "no size": (without("width", "images"), ["1 images have no usable width and height"], {}),
    "size of text": (image(width="64"), ["1 images have no usable width and height"], {}),
    "size of nan": (image(width=NAN), ["1 images have no usable width and height"], {}),
    "size of a fraction": (image(height=47.5), ["1 images have no usable width and height"], {}),
    "size beyond all": (image(width=10**12), ["1 images have no usable width and height"], {}),
    "size of floats": (image(width=64.0, height=48.0), [], {}),
    "ids of text": (
        lambda c: (
            [each.update({k: f"x{each[k]}" for k in ("id", "image_id")}) for each in c["annotations"]]
            + [each.update(id=f"x{each['id']}") for each in c["images"]]
        ),
        [],
        {},
    ),
    "two objects of an id": (entry(id=5), ["1 objects have an id that another has too; all are kept"], {}),
    "another image size": (image(width=80, height=60), ["1 of 3 images cannot be used: .*3.jpg: it is 64 x 48"], {}),
    "a missing image": (image(file_name="no.jpg"), ["1 of 3 images are not there, such as .*no.jpg"], {}),
    "another case": (image(file_name="3.JPG"), ["1 images are found by another spelling"], {}),
    "another extension": (image(file_name="3.png"), ["1 images are found by another spelling"], {}),
    "the folder in the name": (image(file_name="val/3.jpg"), ["1 images are found by another spelling"], {}),
    "backslashes": (image(file_name="data\\val\\3.jpg"), ["1 images are found by another spelling"], {}),
    "box of nan": (
        entry(bbox=[NAN, 5, 20, 15]),
        ["1 objects, or .*object 6: box nan .* is not a number"],
        {"objects": 5},
    ),
    "box of inf": (entry(bbox=[30, 5, INF, 15]), ["1 objects, or .*object 6: box 30 5 inf"], {"objects": 5}),
    "box of no area": (entry(bbox=[30, 5, 0, 15]), ["1 objects, or .*object 6: box .* has no area"], {"objects": 5}),
    "box below 0": (entry(bbox=[30, 5, -20, 15]), ["1 objects, or .*object 6: box .* has no area"], {"objects": 5}),
    "no mask": (without("segmentation"), ["1 objects, or .*object 6: no mask; object left out"], {"objects": 5}),
    "an empty mask": (entry(segmentation=[]), ["1 objects, or .*object 6: no mask; object left out"], {"objects": 5}),
    "an odd polygon": (
        entry(segmentation=[[1, 1, 9, 1, 9, 9, 1]]),
        ["1 objects, or .*object 6: 1 polygons with an odd number of coordinates; no other"],
        {"objects": 5},
    ),
    "polygon of nan": (
        entry(segmentation=[[NAN, 1, 9, 1, 9, 9]]),
        ["1 objects, or .*object 6: 1 polygons with a coordinate that is not a number"],
        {"objects": 5},
    ),
    "polygon of inf": (
        entry(segmentation=[[INF, 1, 9, 1, 9, 9]]),
        ["object 6: 1 polygons with a coord"],
        {"objects": 5},
    ),
    "polygon too far": (entry(segmentation=[[1e8, 1, 9, 1, 9, 9]]), ["object 6: 1 polygons far out"], {"objects": 5}),
    "polygon outside": (
        entry(segmentation=[[70, 1, 90, 1, 90, 9], [70, 50, 90, 50, 90, 70]]),
        ["object 6: 2 polygons outside the image; no other, object left out"],
        {"objects": 5},
    ),
    "one polygon of several": (
        entry(segmentation=[[1, 1], [30, 5, 50, 5, 50, 20, 30, 20], [0, -9, 9, -9, 9, -1]]),
        ["object 6: 1 polygons of fewer than three points, 1 polygons outside the image; the others are kept"],
        {"objects": 6},
    ),
}


@pytest.mark.parametrize("name", REMARKS)
def test_read_and_told_with_a_count(name: str, files: Path) -> None:
    """What is computed is what the file should have said."""
    change, words, facts = REMARKS[name]
    found = opened(files, change)
    told = list(found.warnings())
    assert len(told) == len(words) and all(re.search(*pair) for pair in zip(words, told, strict=True)), told
    assert {"objects": 6, "crowd": 0, **facts}.items() <= found.facts().items()
    assert set(found.images.areas.tolist()) == {300.0} and found.images.sizes[:2].tolist() == [list(SIZE)] * 2
    found.images[0].image()


def test_masks_that_are_there_are_kept_bit_for_bit(files: Path) -> None:
    """Remarks change nothing else: the digest is that of the file without fault."""
    right = opened(files, lambda c: None)
    for change in (without("area"), entry(iscrowd="0"), image(width=0), image(width=64.0), entry(id=5)):
        assert opened(files, change).digest == right.digest
    assert opened(files, entry(iscrowd=1)).digest != right.digest


def test_an_image_that_is_turned_is_read_as_its_annotations_have_it(files: Path, tmp_path: Path) -> None:
    """As shown where the size is that, as stored where it is that one's."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255
    for i in (1, 2, 3):
        Image.fromarray(pixels).save(tmp_path / f"val/{i}.jpg", exif=exif, quality=100)
    content = plain()
    content["images"][0] |= {"width": 48, "height": 64}
    content["images"][1] |= {"width": -1, "height": -1}
    found = written(tmp_path, json.dumps(content).encode())
    assert found.images.sizes.tolist() == [[48, 64], [48, 64], [64, 48]]
    turned = np.rot90(pixels, -1)
    for place, expected in enumerate((turned, turned, pixels)):
        shown = np.asarray(found.images[place].image()).astype(int)
        assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 3
    told = " ".join(found.warnings())
    assert "1 of 2 images are turned by their EXIF block, but not their annotations: read as they are stored" in told
