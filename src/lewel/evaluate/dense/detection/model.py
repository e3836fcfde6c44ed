"""The detector that a task asks for."""

from __future__ import annotations

from lewel.evaluate.dense import norms
from lewel.evaluate.dense.detection.c4 import C4
from lewel.evaluate.dense.detection.detector import Detector
from lewel.evaluate.dense.detection.fpn import FPN
from lewel.evaluate.dense.tasks import Detection
from lewel.model.encoder import Encoder


def build(encoder: Encoder, task: Detection, classes: int, scale: float = 1.0) -> Detector:
    """A detector on the encoder itself, not a copy: it gets the task's norm, and all of it is trained.

    classes: without background.
    scale: image size / 800. Where it is not 1, the protocols' sizes of anchors are times it (C4), or they and those of
    regions for levels are times its square root (FPN), so that objects of the same share of the image are met.
    Raises UserError for an encoder that is no ResNet.
    """
    made = {"c4": C4, "fpn": FPN}[task.model](encoder, task, classes, scale)
    norms.convert(encoder, task.norm)
    encoder.requires_grad_(True)
    return made
