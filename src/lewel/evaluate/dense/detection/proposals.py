"""Where objects may be: the region proposal network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from lewel.evaluate.dense.detection.anchors import Anchors
from lewel.evaluate.dense.detection.objects import Objects

DRAWN = 256  # anchors of an image that the losses see, at most half of them foreground
FOREGROUND, BACKGROUND = 0.7, 0.3  # overlap with an object: from here on, below
NMS = 0.7


class Counts(NamedTuple):
    """How many proposals."""

    training: int
    testing: int


class Proposals(RegionProposalNetwork):
    """Torchvision's, with the losses of the protocols.

    before, after: how many proposals are kept of each map before non-maximum suppression, and of an image after it.
    """

    def __init__(self, channels: int, anchors: Anchors, before: Counts, after: Counts):
        head = _Head(channels, anchors.num_anchors_per_location()[0])
        super().__init__(anchors, head, FOREGROUND, BACKGROUND, DRAWN, 0.5, before._asdict(), after._asdict(), NMS)

    def propose(
        self,
        images: Float[Tensor, "b 3 height width"],
        shapes: Sequence[tuple[int, int]],
        maps: Sequence[Float[Tensor, "b c _ _"]],
        targets: Sequence[Objects] | None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """(proposals, 4) of each image, the likeliest first, without gradient; in train mode the losses too."""
        truth = None if targets is None else [{"boxes": each.boxes.float()} for each in targets]
        return self(ImageList(images, list(shapes)), {str(place): each for place, each in enumerate(maps)}, truth)

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Of objectness and boxes: sums over the anchors drawn, over as many as an image may have drawn."""
        foreground, background = (torch.cat(found).bool() for found in self.fg_bg_sampler(labels))
        drawn, count = foreground | background, DRAWN * len(labels)
        right = torch.cat(labels)[drawn]
        of_objectness = functional.binary_cross_entropy_with_logits(objectness.flatten()[drawn], right, reduction="sum")
        of_boxes = functional.l1_loss(
            pred_bbox_deltas[foreground], torch.cat(tuple(regression_targets))[foreground], reduction="sum"
        )
        return of_objectness / count, of_boxes / count


class _Head(RPNHead):
    """In float32 from here on: boxes need it."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(x)
        return [each.float() for each in logits], [each.float() for each in deltas]
