"""PASCAL VOC's own average precision, as its development kit counts.

A detection belongs to the object of its class with which it overlaps most, whether that is taken or not: it is right if
they overlap enough and no surer detection took the object, and wrong otherwise. What belongs to a difficult object is
neither. AP is the mean of the precision at the eleven `RECALLS` (VOC 2007), or the area below the curve (since 2010),
both after each precision was raised to the highest at a higher recall.

AP, AP50 and AP75 of VOC in tables of pretraining (MoCo, LEWEL and others) are those of detectron2's
PascalVOCDetectionEvaluator: for the test set of 2007 the eleven-point AP, averaged over COCO's ten overlaps, and at two
of them. They are not COCO's numbers, which are of 101 recalls and of another matching. detectron2 rounds boxes to a
tenth of a pixel and scores to a thousandth before it counts, and wants an overlap above the threshold; here nothing is
rounded, and the threshold itself is enough, as in the development kit. Edges lie between pixels: the kit's "+ 1" is in
the boxes since they were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torchvision.ops import box_iou

from lewel.evaluate.dense.detection.found import Found
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.dense.truth.objects import Annotated

RECALLS = np.arange(0.0, 1.1, 0.1)  # as the kit and detectron2 have them: three are a last bit above 0.3, 0.6 and 0.7
OVERLAPS = tuple(percent / 100 for percent in range(50, 100, 5))


class Precision(NamedTuple):
    """AP in per cent at each of `OVERLAPS`, of each class; NaN for classes without objects but difficult ones."""

    eleven: Float64[np.ndarray, "overlaps classes"]
    area: Float64[np.ndarray, "overlaps classes"]

    def values(self, classes: Sequence[str]) -> dict[str, Any]:
        """What results.json says of it: means over the classes that have objects, and AP of each class."""
        at = {f"AP{round(100 * overlap)}": place for place, overlap in enumerate(OVERLAPS) if overlap in (0.5, 0.75)}
        means = {name: _mean(self.eleven[place]) for name, place in at.items()}
        return {
            "AP": _mean(self.eleven),
            **means,
            "AP50_area": _mean(self.area[at["AP50"]]),
            "per_class_AP": dict(zip(classes, self.eleven.mean(axis=0).tolist(), strict=True)),
            "per_class_AP50": dict(zip(classes, self.eleven[at["AP50"]].tolist(), strict=True)),
        }


def precision(truth: Annotations, detected: Sequence[Found]) -> Precision:
    """detected: of each image of the truth."""
    assert len(truth) == len(detected)
    images = truth.images
    labels = np.concatenate([np.zeros(0, np.int64), *(each.labels for each in detected)])
    scores = np.concatenate([np.zeros(0), *(each.scores for each in detected)])
    pairs = [matched(*both) for both in zip(images, detected, strict=True)]
    place, overlap = (np.concatenate(column) for column in zip(*pairs, strict=True))
    objects = place + np.repeat(images.first[:-1], [len(each.labels) for each in detected])
    wanted = np.bincount(images.labels[~images.difficult], minlength=len(truth.classes))
    order = np.argsort(-scores, kind="stable")
    found = np.full((2, len(OVERLAPS), len(truth.classes)), np.nan)
    for label in np.flatnonzero(wanted):
        chosen = order[labels[order] == label]
        for row, threshold in enumerate(OVERLAPS):
            enough = overlap[chosen] >= threshold
            ignored = enough & np.append(images.difficult, False)[np.where(enough, objects[chosen], -1)]
            right = _first(objects[chosen], enough & ~ignored)
            curve = _curve(right[~ignored], int(wanted[label]))
            found[:, row, label] = _eleven_points(*curve), _area(*curve)
    return Precision(*(100 * found))


def matched(truth: Annotated, detected: Found) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """The object that each detection belongs to, and how much they overlap; 0 and -1 where none is of its class."""
    if not len(truth):
        return np.zeros(len(detected.labels), np.int64), np.full(len(detected.labels), -1.0)
    overlaps = box_iou(torch.from_numpy(detected.boxes), torch.from_numpy(truth.boxes)).numpy()
    overlaps[detected.labels[:, None] != truth.labels] = -1
    return overlaps.argmax(axis=1), overlaps.max(axis=1)


def _first(objects: Int64[np.ndarray, " m"], among: Bool[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    """Of those with the same object, the first."""
    places = np.flatnonzero(among)
    found = np.zeros(len(objects), bool)
    found[places[np.unique(objects[places], return_index=True)[1]]] = True
    return found


def _curve(right: Bool[np.ndarray, " m"], wanted: int) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Recall and precision after each detection, the latter the highest from there on."""
    hits = np.cumsum(right)
    exact = hits / np.arange(1, len(right) + 1)
    return hits / wanted, np.maximum.accumulate(exact[::-1])[::-1]


def _eleven_points(recall: Float64[np.ndarray, " m"], highest: Float64[np.ndarray, " m"]) -> float:
    places = np.searchsorted(recall, RECALLS)
    return float(np.append(highest, 0)[places].mean())


def _area(recall: Float64[np.ndarray, " m"], highest: Float64[np.ndarray, " m"]) -> float:
    return float((np.diff(recall, prepend=0) * highest).sum())


def _mean(values: Float64[np.ndarray, "*any"]) -> float:
    """Over the classes that have objects; NaN where none has."""
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")
