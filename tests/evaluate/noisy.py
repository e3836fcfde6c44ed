"""A fixed set of objects in COCO's files, with crowds, of several sizes, and of detections that are partly wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as tool

from lewel.evaluate.dense.detection.found import Found

WIDTH, HEIGHT, CLASSES = 320, 240, 6


def polygon(box: list[float], rng: np.random.Generator) -> list[float]:
    """An ellipse of eleven corners, somewhat dented."""
    x, y, width, height = box
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    reach = rng.uniform(0.8, 1, 11) / 2
    points = np.stack([x + width * (0.5 + reach * np.cos(angle)), y + height * (0.5 + reach * np.sin(angle))], axis=1)
    return points.round(2).reshape(-1).tolist()


def runs(outline: list[float]) -> dict[str, Any]:
    return tool.merge(tool.frPyObjects([outline], HEIGHT, WIDTH))


def random_box(rng: np.random.Generator) -> list[float]:
    side = float(rng.choice([12, 50, 110]))
    width, height = (side * rng.uniform(0.6, 1.4, 2)).round(2).tolist()
    return [round(rng.uniform(0, WIDTH - width), 2), round(rng.uniform(0, HEIGHT - height), 2), width, height]


def write(root: Path, images: int = 60, seed: int = 0) -> tuple[Path, list[dict[str, Any]]]:
    """COCO's folder, and detections as its results: with bbox and segmentation. Some images have neither, or one."""
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    objects: list[dict[str, Any]] = []
    guesses: list[dict[str, Any]] = []
    for image in range(images):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"val/{image:03}.jpg")
        here = []
        for _ in range(rng.poisson(5) if image % 7 else 0):
            box, crowd = random_box(rng), int(rng.random() < 0.15)
            outline = polygon(box, rng)
            text = runs(outline)
            segmentation = {"size": text["size"], "counts": text["counts"].decode()} if crowd else [outline]
            entry = {"id": len(objects) + 1, "image_id": image, "category_id": int(rng.integers(1, CLASSES)) * 3}
            entry |= {"bbox": box, "segmentation": segmentation, "area": float(tool.area(text)), "iscrowd": crowd}
            objects.append(entry)
            here.append(entry)
        for each in [*here, *here, *([None] * int(rng.integers(0, 6)))] if image % 5 else []:
            box, label, sure = random_box(rng), int(rng.integers(1, CLASSES + 1)) * 3, 0.6
            if each is not None and rng.random() < 0.8:
                sides = np.array(each["bbox"])
                box = (sides + rng.normal(0, 0.07, 4) * sides[[2, 3, 2, 3]]).round(2).tolist()
                label, sure = label if rng.random() < 0.1 else each["category_id"], 1.0
            result = {"image_id": image, "category_id": label, "score": round(float(sure * rng.random()), 2)}
            guesses.append(result | {"bbox": box, "segmentation": runs(polygon(box, rng))})
    content = {
        "images": [{"id": i, "file_name": f"{i:03}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(images)][
            ::-1
        ],
        "annotations": objects,
        "categories": [{"id": 3 * (i + 1), "name": f"class {i}"} for i in range(CLASSES)],
    }
    (root / "annotations/instances_val.json").write_text(json.dumps(content))
    return root, guesses


def found(guesses: list[dict[str, Any]], name: str) -> Found:
    """The detections in an image."""
    here = [each for each in guesses if each["image_id"] == int(Path(name).stem)]
    boxes = np.array([each["bbox"] for each in here], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([each["score"] for each in here], np.float64)
    labels = np.array([each["category_id"] // 3 - 1 for each in here], np.int64)
    return Found(boxes, scores, labels, tuple(each["segmentation"] for each in here))
