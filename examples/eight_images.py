"""Eight images of a data set as a data set of their own, to learn by heart: what cannot do that has a fault.

    python examples/eight_images.py voc          VOCDEVKIT OUT     then: lewel evaluate detect-voc-c4 --data OUT ...
    python examples/eight_images.py segmentation VOCDEVKIT OUT     segment-voc
    python examples/eight_images.py coco         COCO      OUT     detect-coco-c4, detect-coco-fpn
    python examples/eight_images.py faces        FACES     OUT     landmarks; of FACES/train, NAME.pts beside each image

The first images of train whose objects are large enough to be seen at a reduced size, as train and as val.
docs/results.md has the commands that learn them, and what comes out.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

IMAGES = 8
MOST = 3  # objects in an image
SHARE = 0.06  # of the image: the box of each object, and the area of each class, at least
VOID = 255  # of masks: not counted


def voc(source: Path, out: Path) -> None:
    """Objects in VOC's form, none of them difficult."""
    year = year_of(source)

    def fitting() -> Iterator[str]:
        for name in (year / "ImageSets" / "Main" / "train.txt").read_text().split():
            found = ElementTree.parse(year / "Annotations" / f"{name}.xml").getroot()
            width, height = (float(found.findtext(f"size/{side}", "")) for side in ("width", "height"))
            objects = found.findall("object")
            if any(each.findtext("difficult") == "1" for each in objects):
                continue
            corners = [
                [float(each.findtext(f"bndbox/{at}", "")) for at in ("xmin", "ymin", "xmax", "ymax")]
                for each in objects
            ]
            if are_large([(x1 - x0) * (y1 - y0) / (width * height) for x0, y0, x1, y1 in corners]):
                yield name

    of_voc(year, out, "Main", fitting(), {"JPEGImages": "jpg", "Annotations": "xml"})


def segmentation(source: Path, out: Path) -> None:
    """Masks in VOC's form."""
    year = year_of(source)

    def fitting() -> Iterator[str]:
        for name in (year / "ImageSets" / "Segmentation" / "train.txt").read_text().split():
            with Image.open(year / "SegmentationClass" / f"{name}.png") as mask:
                pixels = np.bincount(np.asarray(mask).ravel(), minlength=VOID + 1)
            classes = pixels[:VOID][pixels[:VOID] > 0]  # the background among them
            if are_large((classes / pixels.sum()).tolist()):
                yield name

    of_voc(year, out, "Segmentation", fitting(), {"JPEGImages": "jpg", "SegmentationClass": "png"})


def coco(source: Path, out: Path) -> None:
    """Objects and their outlines in COCO's form, none of them a crowd."""
    listed = newest(
        (source / "annotations").glob("instances_train*.json"), f"{source}/annotations/instances_train*.json"
    )
    train = listed.stem.removeprefix("instances_")  # train2017, or train
    content = json.loads(listed.read_bytes())

    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for each in content["annotations"]:
        by_image[each["image_id"]].append(each)

    def fitting() -> Iterator[dict[str, Any]]:
        for image in content["images"]:
            objects, area = by_image[image["id"]], image["width"] * image["height"]
            crowd = any(each.get("iscrowd") for each in objects)
            if not crowd and are_large([each["bbox"][2] * each["bbox"][3] / area for each in objects]):
                yield image

    images = eight(fitting())
    objects = [each for image in images for each in by_image[image["id"]]]
    for part in (train, train.replace("train", "val")):
        file = out / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**content, "images": images, "annotations": objects}))
        for each in images:
            copy(source / train / each["file_name"], (out / part / each["file_name"]).parent)


def faces(source: Path, out: Path) -> None:
    """Landmarks in 300W's form: the first faces."""
    for points in eight(iter(sorted((source / "train").rglob("*.pts")))):
        for file in points.parent.iterdir():
            if file.stem == points.stem:
                for part in ("train", "test"):
                    copy(file, out / part / points.parent.relative_to(source / "train"))


def of_voc(year: Path, out: Path, kind: str, names: Iterator[str], folders: dict[str, str]) -> None:
    chosen = eight(names)
    for part in ("train", "val"):
        file = out / year.name / "ImageSets" / kind / f"{part}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}\n" for name in chosen))
    for folder, suffix in folders.items():
        for name in chosen:
            copy(year / folder / f"{name}.{suffix}", out / year.name / folder)
    if (year / "classes.txt").is_file():
        copy(year / "classes.txt", out / year.name)


def year_of(source: Path) -> Path:
    """VOCdevkit's last year, or the folder itself."""
    folders = [source, *source.glob("VOC2*")]
    return newest((each for each in folders if (each / "ImageSets").is_dir()), f"{source}/VOC2*/ImageSets")


def newest(found: Iterator[Path], wanted: str) -> Path:
    return max(found, default=None) or sys.exit(f"{wanted} is not there")


def are_large(shares: list[float]) -> bool:
    return 1 <= len(shares) <= MOST and min(shares) >= SHARE


def eight(found: Iterator[Any]) -> list[Any]:
    chosen = list(islice(found, IMAGES))
    if len(chosen) < IMAGES:
        sys.exit(f"only {len(chosen)} images of train have points, or 1 to {MOST} objects of {SHARE:.0%} or more each")
    return chosen


def copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder)


if __name__ == "__main__":
    forms = {each.__name__: each for each in (voc, segmentation, coco, faces)}
    if len(sys.argv) != 4 or sys.argv[1] not in forms:
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(forms)}}} DATA OUT")
    forms[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
