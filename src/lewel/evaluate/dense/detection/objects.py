"""The objects of one image as tensors: those to be learned, and those that a model finds."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Objects(NamedTuple):
    """Truth. Boxes are x0 y0 x1 y1 in the image's pixels; labels 0 .. classes - 1; masks None where there are none."""

    boxes: Float[Tensor, "k 4"]
    labels: Int64[Tensor, " k"]
    masks: Bool[Tensor, "k h w"] | None


class Detections(NamedTuple):
    """What a model finds, best first. masks: probabilities over s x s cells of each box; None from a model of boxes."""

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int64[Tensor, " m"]
    masks: Float[Tensor, "m s s"] | None
