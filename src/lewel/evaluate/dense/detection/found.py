"""What a model found in an image, in the pixels of the file: what every measure takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from lewel.evaluate.dense.detection.objects import Detections, pasted
from lewel.evaluate.dense.detection.views import LEAST, Size, moved
from lewel.evaluate.dense.truth.outlines import coco_masks


class Found(NamedTuple):
    """m detections in one image. Boxes as in `Annotated`; masks: COCO's run lengths of the whole image."""

    boxes: Float64[np.ndarray, "m 4"]
    scores: Float64[np.ndarray, " m"]
    labels: Int64[np.ndarray, " m"]
    masks: tuple[dict[str, Any], ...] | None = None


def found(detections: Detections, seen: Size, size: Size) -> Found:
    """Detections in an image of the size that the model saw, in the image of the file; those without area left out."""
    boxes = moved(detections.boxes.cpu().double().numpy(), seen, size)
    kept = np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) > LEAST).all(axis=1))
    boxes = boxes[kept]
    scores, labels = detections.scores.cpu().double().numpy(), detections.labels.cpu().numpy()
    masks = None
    if detections.masks is not None:
        cells = detections.masks[torch.from_numpy(kept).to(detections.masks.device)].float().cpu()
        masks = run_lengths(pasted(cells, torch.from_numpy(boxes).float(), size[1], size[0]).numpy())
    return Found(boxes, scores[kept], labels[kept], masks)


def run_lengths(masks: np.ndarray) -> tuple[dict[str, Any], ...]:
    """Of masks (m, h, w) bool, as COCO writes them."""
    tool: Any = coco_masks()
    return tuple(tool.encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks)
