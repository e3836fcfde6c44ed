"""Images that the project makes itself, for the demo and the tests: JPEG files with classes, boxes and masks.

    ROOT/train/CLASS/000001.jpg               the class is that of the object that shows the most; also ROOT/val
    ROOT/annotations/instances_train.json     COCO; file names below ROOT/train, masks as uncompressed run lengths
    ROOT/VOCdevkit/VOC2012/JPEGImages/train_000001.jpg      the same images, byte for byte, both splits together
                          /Annotations/train_000001.xml     boxes, 1-based and inclusive as in VOC
                          /SegmentationClass/train_000001.png   palette; 0 background, 1-10 classes, 255 mixed outlines
                          /ImageSets/{Main,Segmentation}/{train,val,trainval}.txt
                          /classes.txt      names of the ten classes, which are not VOC's
    ROOT/scenes.json                          what the folder was made with; written last

torchvision reads them as `ImageFolder(ROOT/train)` and `VOCDetection(ROOT, "2012", "train")`. Boxes and masks are of
what can be seen. The image with the number i of a split is a function of (size, seed, split, i) alone, so any number of
processes makes the same files. Every file is written under a temporary name and renamed: an interrupted folder is
completed by the same call, and processes that make the same folder at once do each other no harm.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lewel.data.scene_objects import CLASSES
from lewel.data.scene_paint import Scene, paint
from lewel.errors import UserError

SPLITS = ("train", "val")
MARKER = "scenes.json"
BEGUN = "scenes.unfinished.json"
VOC = "VOCdevkit/VOC2012"
VOID = 255
CHUNK = 50  # images a task of a worker


@dataclass(frozen=True)
class Made:
    """What decides the content of every file. version: of the painter and the layout."""

    train: int
    val: int
    size: int
    seed: int
    version: int = 2


def make(
    root: str | os.PathLike[str],
    train: int = 1000,
    val: int = 200,
    size: int = 96,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Make the scenes in the folder `root`, or find them there, and return it.

    train, val: number of images, spread evenly over the ten classes. size: pixels a side. workers: processes; with more
    than one, a script that calls this needs Python's usual `if __name__ == "__main__"`.
    Raises UserError when the folder holds something else, or scenes of other numbers.
    """
    root, made = Path(root), Made(train, val, size, seed)
    if train < 1 or val < 1 or size < 32 or seed < 0:
        raise UserError(
            f"scenes: train {train}, val {val}, size {size}, seed {seed}: at least 1, 1, 32 and 0 are needed"
        )
    if is_finished(root, made):
        return root
    write(root / BEGUN, as_json(asdict(made)))
    for split in SPLITS:
        write_split(root, made, split, workers)
    for task in ("Main", "Segmentation"):
        write_lists(root / VOC / "ImageSets" / task, made)
    write(root / VOC / "classes.txt", "".join(f"{name}\n" for name in CLASSES).encode())
    write(root / MARKER, as_json(asdict(made)))
    (root / BEGUN).unlink(missing_ok=True)
    return root


def is_finished(root: Path, made: Made) -> bool:
    """Whether all is there. Raises UserError where something else is."""
    for name in (MARKER, BEGUN):
        if (root / name).is_file():
            found = (root / name).read_bytes()
            if found != as_json(asdict(made)):
                raise UserError(
                    f"{root} holds scenes made with {describe(found)}; asked for {describe(as_json(asdict(made)))}: "
                    "name another folder, or delete that one"
                )
            return name == MARKER and all(image_path(root, split, i).is_file() for split, i in numbers(made))
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} exists and holds no scenes: name a new or an empty folder for them")
    return False


def describe(marker: bytes) -> str:
    try:
        return ", ".join(f"{key} {value}" for key, value in json.loads(marker).items())
    except (ValueError, AttributeError):
        return f"an unreadable {MARKER}"


def as_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def write(path: Path, content: bytes) -> None:
    """All or nothing, also when another process writes the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def label(i: int) -> int:
    """The class of an image from its number in the split: the ten in turn."""
    return i % len(CLASSES)


def numbers(made: Made) -> list[tuple[str, int]]:
    return [(split, i) for split in SPLITS for i in range(getattr(made, split))]


def file_name(i: int) -> str:
    """Below ROOT/SPLIT."""
    return f"{CLASSES[label(i)]}/{i + 1:06d}.jpg"


def image_path(root: Path, split: str, i: int) -> Path:
    return root / split / file_name(i)


def voc_name(split: str, i: int) -> str:
    return f"{split}_{i + 1:06d}"


def scene(made: Made, split: str, i: int) -> Scene:
    """The i-th scene of a split."""
    return paint(np.random.default_rng([made.seed, SPLITS.index(split), i]), label(i), made.size)


def write_split(root: Path, made: Made, split: str, workers: int) -> None:
    """Images, masks and VOC files of a split, on `workers` processes; then its COCO file from what they found."""
    count = getattr(made, split)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if workers > 1 and len(chunks) > 1:
        # Not forked: torch's threads may be running, and a forked copy of a held lock is never released.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            tasks = [pool.submit(write_images, root, made, split, chunk) for chunk in chunks]
            found = [row for task in tasks for row in task.result()]
    else:
        found = [row for chunk in chunks for row in write_images(root, made, split, chunk)]
    write(root / "annotations" / f"instances_{split}.json", as_json(coco(made, found)))


def write_images(root: Path, made: Made, split: str, chunk: Sequence[int]) -> list[list[dict[str, Any]]]:
    """Write the files of these images; returns the COCO annotations of each, without their ids."""
    found = []
    for i in chunk:
        picture = scene(made, split, i)
        annotations = [annotation(picture, number) for number in range(1, len(picture.objects) + 1)]
        name, content = voc_name(split, i), jpeg(picture.pixels, i)
        write(image_path(root, split, i), content)
        write(root / VOC / "JPEGImages" / f"{name}.jpg", content)
        write(root / VOC / "SegmentationClass" / f"{name}.png", png(class_mask(picture)))
        write(root / VOC / "Annotations" / f"{name}.xml", voc_xml(name, made.size, picture, annotations).encode())
        found.append([{"image_id": i + 1, **entry} for entry in annotations])
    return found


def jpeg(pixels: NDArray[np.uint8], i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=(80, 88, 95)[i // len(CLASSES) % 3])  # cameras differ
    return buffer.getvalue()


def class_mask(picture: Scene) -> NDArray[np.uint8]:
    """1 + class for each pixel, 0 for background, 255 where an outline mixes two."""
    values = np.array([0, *(1 + thing.kind for thing in picture.objects)], np.uint8)
    return np.where(picture.mixed, np.uint8(VOID), values[picture.instances])


def palette() -> bytes:
    """VOC's: the bits of a value, three by three, become the high bits of red, green and blue."""
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((np.arange(256) >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colors.tobytes()


PALETTE = palette()


def png(mask: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(mask, "P")
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def annotation(picture: Scene, number: int) -> dict[str, Any]:
    """COCO's entry for one object, from its visible pixels."""
    mask = picture.instances == number
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = int(columns[0]), int(rows[0])
    return {
        "category_id": 1 + picture.objects[number - 1].kind,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
    }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed form: lengths of the runs of 0, 1, 0, ... down the columns."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def coco(made: Made, found: list[list[dict[str, Any]]]) -> dict[str, Any]:
    images = [
        {"id": i + 1, "file_name": file_name(i), "width": made.size, "height": made.size} for i in range(len(found))
    ]
    entries = [entry for row in found for entry in row]
    return {
        "info": {"description": "Synthetic scenes", "version": str(made.version)},
        "categories": [{"id": k, "name": name, "supercategory": "object"} for k, name in enumerate(CLASSES, 1)],
        "images": images,
        "annotations": [{"id": k, **entry} for k, entry in enumerate(entries, 1)],
    }


def voc_xml(name: str, size: int, picture: Scene, annotations: list[dict[str, Any]]) -> str:
    """VOC's file for one image. `difficult` where less than half of the object shows."""
    objects = []
    for thing, entry in zip(picture.objects, annotations, strict=True):
        x, y, width, height = entry["bbox"]
        objects.append(
            f"\t<object>\n\t\t<name>{escape(CLASSES[thing.kind])}</name>\n\t\t<pose>Unspecified</pose>\n"
            f"\t\t<truncated>{int(thing.truncated)}</truncated>\n\t\t<occluded>{int(thing.shown < 0.95)}</occluded>\n"
            f"\t\t<difficult>{int(thing.shown < 0.5)}</difficult>\n"
            f"\t\t<bndbox>\n\t\t\t<xmin>{x + 1}</xmin>\n\t\t\t<ymin>{y + 1}</ymin>\n"
            f"\t\t\t<xmax>{x + width}</xmax>\n\t\t\t<ymax>{y + height}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        )
    return (
        f"<annotation>\n\t<folder>VOC2012</folder>\n\t<filename>{name}.jpg</filename>\n"
        "\t<source>\n\t\t<database>Synthetic scenes</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{size}</width>\n\t\t<height>{size}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>1</segmented>\n{''.join(objects)}</annotation>\n"
    )


def write_lists(folder: Path, made: Made) -> None:
    lists = {split: [voc_name(split, i) for i in range(getattr(made, split))] for split in SPLITS}
    for name, names in (lists | {"trainval": lists["train"] + lists["val"]}).items():
        write(folder / f"{name}.txt", ("\n".join(names) + "\n").encode())
