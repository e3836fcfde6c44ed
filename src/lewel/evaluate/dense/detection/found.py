"""What a model found in an image, in the pixels of the file: what every measure takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from lewel.evaluate.dense.detection.objects import Detections
from lewel.evaluate.dense.detection.views import LEAST, Size, moved
from lewel.evaluate.dense.truth.outlines import coco_masks

LIKELY = 0.5  # probability from which a pixel is the object's


class Found(NamedTuple):
    """m detections in one image. Boxes as in `Annotated`; masks: COCO's run lengths of the whole image."""

    boxes: Float64[np.ndarray, "m 4"]
    scores: Float64[np.ndarray, " m"]
    labels: Int64[np.ndarray, " m"]
    masks: tuple[dict[str, Any], ...] | None = None


def found(detections: Detections, seen: Size, size: Size) -> Found:
    """Detections in an image of the size that the model saw, in the image of the file; those without area left out."""
    boxes = moved(detections.boxes.double().cpu().numpy(), seen, size)
    kept = np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) > LEAST).all(axis=1))
    scores, labels = detections.scores.double().cpu().numpy(), detections.labels.cpu().numpy()
    masks = None
    if detections.masks is not None:
        cells = detections.masks.float().cpu().numpy()
        masks = tuple(_run_lengths(cells[place], boxes[place], size) for place in kept)
    return Found(boxes[kept], scores[kept], labels[kept], masks)


def pasted(cells: Float[np.ndarray, "s s"], box: Float64[np.ndarray, " 4"], size: Size) -> Bool[np.ndarray, "h w"]:
    """The mask in the image: cells interpolated at the pixels' centres, 0 beyond the box.

    The box is not rounded, as in detectron2; torchvision rounds it.
    """
    mask = np.zeros((size[1], size[0]), bool)
    x0, x1, columns = _weights(box[0], box[2], size[0], len(cells))
    y0, y1, rows = _weights(box[1], box[3], size[1], len(cells))
    mask[y0:y1, x0:x1] = rows @ cells @ columns.T >= LIKELY
    return mask


def _weights(low: float, high: float, side: int, cells: int) -> tuple[int, int, np.ndarray]:
    """The pixels of one side that may see a cell, from and to, and how much they see of each: linear interpolation."""
    reach = (high - low) / cells  # of the outermost cells, beyond the box
    first, last = max(int(low - reach), 0), min(int(high + reach) + 1, side)
    place = (np.arange(first, last) + 0.5 - low) * (cells / (high - low)) - 0.5
    return first, last, np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


def _run_lengths(cells: Float[np.ndarray, "s s"], box: Float64[np.ndarray, " 4"], size: Size) -> dict[str, Any]:
    tool: Any = coco_masks()
    return tool.encode(np.asfortranarray(pasted(cells, box, size).astype(np.uint8)))
