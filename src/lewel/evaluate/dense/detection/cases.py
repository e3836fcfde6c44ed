"""The images that a detector is worst at, with what it found there.

An image's score is the F1 of what is found with a score of one half or more, at an overlap of one half: twice the right
ones, over objects and detections together; 1 where nothing is to be found and nothing was. It is a number of one image,
which AP, a number of a ranking, is not. Of images with equal scores the one with more mistakes is worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from lewel.data.decode import DecodeError
from lewel.evaluate.dense import drawing
from lewel.evaluate.dense.detection.found import Found
from lewel.evaluate.dense.detection.voc_ap import matched
from lewel.evaluate.dense.drawing import SURE
from lewel.evaluate.dense.gallery import Case
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.dense.truth.objects import Annotated
from lewel.evaluate.dense.truth.outlines import coco_masks

OVERLAP = 0.5
UNSURE = 3  # detections that are shown, thin, where none is sure


class Outcome(NamedTuple):
    """Of one image. Crowds and difficult objects are not wanted, and what finds them is neither right nor wrong."""

    right: int
    wrong: int
    wanted: int

    @property
    def f1(self) -> float:
        all_of_both = self.right + self.wrong + self.wanted
        return 2 * self.right / all_of_both if all_of_both else 1.0

    @property
    def mistakes(self) -> int:
        return self.wrong + self.wanted - self.right

    def text(self) -> str:
        return f"F1 {self.f1:.2f}: {self.right} of {self.wanted} found, {self.wrong} wrong"


def cases(val: Annotations, predictions: Sequence[Found], worst: int) -> list[Case]:
    """So many of the images, the worst first; fewer where there are no more. predictions: of each image."""
    assert len(val) == len(predictions)
    outcomes = [outcome(*pair) for pair in zip(val.images, predictions, strict=True)]
    order = sorted(range(len(val)), key=lambda place: (outcomes[place].f1, -outcomes[place].mistakes))
    return [_case(*each, val.classes) for each in _readable(val, predictions, outcomes, order, worst)]


def outcome(truth: Annotated, found: Found) -> Outcome:
    """What is right and wrong in an image, counted as VOC counts."""
    sure = np.flatnonzero(found.scores >= SURE)
    sure = sure[np.argsort(-found.scores[sure], kind="stable")]
    chosen = Found(found.boxes[sure], found.scores[sure], found.labels[sure])
    objects, overlap = matched(truth, chosen)
    aside = truth.crowd | truth.difficult
    hits = overlap >= OVERLAP
    ignored = _of_crowd(truth, chosen)
    taken: set[int] = set()
    for place in np.flatnonzero(hits).tolist():
        number = int(objects[place])
        if aside[number]:
            ignored[place] = True
        elif number not in taken:
            taken.add(number)
            ignored[place] = False
    right = len(taken)
    return Outcome(right, int((~ignored).sum()) - right, int((~aside).sum()))


def _of_crowd(truth: Annotated, found: Found) -> Bool[np.ndarray, " m"]:
    """Whether a detection lies, by half of its own area or more, in a crowd of its class."""
    within = np.zeros(len(found.labels), bool)
    for crowd, label in zip(truth.boxes[truth.crowd], truth.labels[truth.crowd], strict=True):
        within |= (found.labels == label) & (_share_inside(found.boxes, crowd) >= OVERLAP)
    return within


def _share_inside(boxes: Float64[np.ndarray, "m 4"], other: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, " m"]:
    common = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    return np.maximum(common, 0).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _readable(
    val: Annotations, predictions: Sequence[Found], outcomes: Sequence[Outcome], order: Sequence[int], most: int
) -> Iterator[tuple[Image.Image, Annotated, Found, Outcome]]:
    """The first of them, without those whose file cannot be read any more."""
    for place in order:
        if most == 0:
            return
        try:
            image = val.images[place].image()
        except DecodeError:
            continue
        yield image, val.images[place], predictions[place], outcomes[place]
        most -= 1


def _case(image: Image.Image, truth: Annotated, found: Found, result: Outcome, classes: Sequence[str]) -> Case:
    shown = np.flatnonzero(found.scores >= SURE)
    if not len(shown):
        shown = np.argsort(-found.scores, kind="stable")[:UNSURE]
    right = drawing.objects(
        image, truth.boxes, truth.labels, classes, masks=None if truth.outlines is None else truth.masks()
    )
    guessed = drawing.objects(
        image, found.boxes[shown], found.labels[shown], classes, found.scores[shown], _masks(found, shown, image.size)
    )
    return Case(truth.name, result.text(), right, guessed)


def _masks(found: Found, shown: np.ndarray, size: tuple[int, int]) -> Bool[np.ndarray, "k h w"] | None:
    if found.masks is None:
        return None
    tool: Any = coco_masks()
    masks = [tool.decode(found.masks[place]).astype(bool) for place in shown]
    return np.stack(masks) if masks else np.zeros((0, size[1], size[0]), bool)
