"""COCO's average precision, of boxes and of masks, counted by faster-coco-eval: pycocotools' numbers in less time.

What differs from pycocotools on the same files: boxes are cut at the border of their image and objects that cannot be
used are left out, as they are when they are read; difficult objects, which COCO has not, are ignored: what matches one
is neither right nor wrong, one detection each. Images are numbered in the order of their names, which in COCO is that
of their ids, as the order decides between equal scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from lewel.errors import UserError
from lewel.evaluate.dense.detection.found import Found
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.dense.truth.outlines import Outline, coco_masks

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class Precision(NamedTuple):
    """Per cent; NaN where there is nothing to be found, such as no small objects.

    numbers: of `NAMES`.  per_class: AP.
    """

    numbers: Float64[np.ndarray, " 12"]
    per_class: Float64[np.ndarray, " classes"]

    def values(self, classes: Sequence[str]) -> dict[str, Any]:
        """What results.json says of it."""
        named = dict(zip(NAMES, self.numbers.tolist(), strict=True))
        return named | {"per_class_AP": dict(zip(classes, self.per_class.tolist(), strict=True))}


def precision(truth: Annotations, detected: Sequence[Found], of: Literal["boxes", "masks"]) -> Precision:
    """detected: of each image of the truth. Objects are small, medium or large by their `areas`, detections by theirs.

    Raises UserError where faster-coco-eval is missing.
    """
    coco, evaluation = tools()
    assert len(truth) == len(detected)
    rank = np.argsort(np.argsort(list(truth.images.names), kind="stable")).tolist()
    known = {
        "images": [
            {"id": number, "width": width, "height": height}
            for number, (width, height) in zip(rank, truth.images.sizes.tolist(), strict=True)
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(truth.classes)],
    }
    objects, guesses = _objects(truth, rank, of == "masks"), _guesses(detected, rank, of == "masks")
    sets = [coco(known | {"annotations": rows}, print_function=_silent) for rows in (objects, guesses)]
    counted = evaluation(*sets, iouType="segm" if of == "masks" else "bbox", print_function=_silent)
    counted.run()
    all_areas = counted.eval["precision"][:, :, :, 0, -1].reshape(-1, len(truth.classes))  # -1: no objects
    with_objects = all_areas.min(axis=0) > -1
    per_class = np.where(with_objects, all_areas.mean(axis=0), np.nan)
    stats = np.array(counted.stats, np.float64)
    return Precision(100 * np.where(stats > -1, stats, np.nan), 100 * per_class)


def tools() -> tuple[type[Any], type[Any]]:
    """COCO and COCOeval, which takes the flag `ignore` from the objects: by itself it knows crowds only."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise UserError("COCO's AP needs faster-coco-eval: pip install 'lewel[dense]'") from error

    class Evaluation(COCOeval_faster):
        def _prepare(self) -> None:
            super()._prepare()
            for each in self.cocoGt.anns.values():
                each["ignore"] = each["ignored"]

    return COCO, Evaluation


def _silent(*_: object) -> None:
    """In the place of print."""


def _objects(truth: Annotations, numbers: Sequence[int], masks: bool) -> list[dict[str, Any]]:
    """COCO's annotations. Ids begin with 1, since 0 means none to the counting."""
    found: list[dict[str, Any]] = []
    for number, image in zip(numbers, truth.images, strict=True):
        crowd, ignored = image.crowd.astype(int).tolist(), (image.crowd | image.difficult).astype(int).tolist()
        for place, (box, label, area) in enumerate(
            zip(_sides(image.boxes), image.labels.tolist(), image.areas.tolist(), strict=True)
        ):
            row = {"id": len(found) + 1, "image_id": number, "category_id": label, "bbox": box, "area": area}
            row |= {"iscrowd": crowd[place], "ignored": ignored[place]}
            if masks:
                assert image.outlines is not None, "these annotations have boxes only"
                row["segmentation"] = _plain(image.outlines[place])
            found.append(row)
    return found


def _guesses(detected: Sequence[Found], numbers: Sequence[int], masks: bool) -> list[dict[str, Any]]:
    """COCO's results. The area is that of the mask where masks are compared."""
    found: list[dict[str, Any]] = []
    tool: Any = coco_masks() if masks else None
    for number, each in zip(numbers, detected, strict=True):
        sides = _sides(each.boxes)
        areas = (
            tool.area(list(each.masks or ())).tolist() if masks else [width * height for _, _, width, height in sides]
        )
        for place, (box, label, score, area) in enumerate(
            zip(sides, each.labels.tolist(), each.scores.tolist(), areas, strict=True)
        ):
            row = {"id": len(found) + 1, "image_id": number, "category_id": label, "bbox": box, "area": area}
            row |= {"score": score, "iscrowd": 0}
            if masks:
                assert each.masks is not None
                row["segmentation"] = each.masks[place]
            found.append(row)
    return found


def _sides(boxes: Float64[np.ndarray, "k 4"]) -> list[list[float]]:
    """x0 y0 width height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def _plain(outline: Outline) -> Any:
    return outline if isinstance(outline, dict) else [polygon.tolist() for polygon in outline]
