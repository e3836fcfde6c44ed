"""Masks of regions: the head's last layers, what it should give, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import roi_align

from lewel.evaluate.dense.detection.objects import Objects
from lewel.evaluate.dense.detection.regions import Regions

WIDTH = 256


class Predictor(MaskRCNNPredictor):
    """Maps of each region to twice as large ones: a mask of each class, as logits."""

    def __init__(self, channels: int, classes: int):
        super().__init__(channels, WIDTH, classes)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        nn.init.normal_(self.get_parameter("mask_fcn_logits.weight"), std=0.001)


def of_class(logits: Float[Tensor, "n classes side side"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n side side"]:
    """Each region's mask of its class, float32 logits."""
    return logits[torch.arange(len(labels), device=labels.device), labels].float()


def loss(
    logits: Float[Tensor, "n classes side side"], regions: Sequence[Regions], truth: Sequence[Objects]
) -> Float[Tensor, ""]:
    """Cross entropy of each foreground region's mask of its class, the mean over all pixels."""
    right = [targets(each, image, logits.shape[-1]) for each, image in zip(regions, truth, strict=True)]
    found = of_class(logits, torch.cat([each.labels for each in regions]))
    return functional.binary_cross_entropy_with_logits(found, torch.cat(right))


def targets(regions: Regions, truth: Objects, side: int) -> Float[Tensor, "n {side} {side}"]:
    """What each foreground region sees of its object's mask: 1 where that fills at least half of a bin, else 0."""
    assert truth.masks is not None, "Mask R-CNN learns from masks"
    numbered = torch.cat([regions.objects[:, None].float(), regions.boxes], dim=1)
    seen = roi_align(truth.masks[:, None].float(), numbered, side, 1.0, sampling_ratio=0, aligned=True)
    return (seen[:, 0] >= 0.5).float()
