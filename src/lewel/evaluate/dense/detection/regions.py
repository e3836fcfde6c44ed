"""Regions of images: which are learned from, what class and box they have, and what is found in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from lewel.evaluate.dense.detection.objects import Detections, Objects

FOREGROUND = 0.25  # of the regions that are learned from, at most
OVERLAP = 0.5  # with an object, from which on a region is foreground
SCORE, NMS, MOST = 0.05, 0.5, 100  # of what is found: score above which, overlap up to which, how many an image

CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
MATCHER = Matcher(OVERLAP, OVERLAP)


class Regions(NamedTuple):
    """Regions of an image with what is right for them; for background the number of classes, and -1 as object."""

    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    objects: Int[Tensor, " n"]  # which of the image's

    def foreground(self, classes: int) -> Regions:
        return Regions(*(each[self.labels < classes] for each in self))


def drawn(proposals: Float[Tensor, "_ 4"], truth: Objects, classes: int, most: int) -> Regions:
    """Of proposals and the objects' own boxes those that are learned from, `most` of them."""
    boxes = torch.cat([proposals, truth.boxes.float()])
    if len(truth.boxes):
        matched = MATCHER(box_iou(truth.boxes.float(), boxes))
    else:
        matched = torch.full((len(boxes),), Matcher.BELOW_LOW_THRESHOLD, device=boxes.device)
    foreground, background = BalancedPositiveNegativeSampler(most, FOREGROUND)([(matched >= 0).long()])
    chosen = torch.where(foreground[0] | background[0])[0]
    objects = matched[chosen]
    labels = torch.full_like(objects, classes)
    labels[objects >= 0] = truth.labels[objects[objects >= 0]].long()
    return Regions(boxes[chosen], labels, objects)


class Predictor(nn.Module):
    """A vector of each region to its class, background last, and for each class but that a box."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.classes = nn.Linear(channels, classes + 1)
        self.boxes = nn.Linear(channels, 4 * classes)
        for layer, std in ((self.classes, 0.01), (self.boxes, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, vectors: Float[Tensor, "n c"]) -> tuple[Tensor, Tensor]:
        """(n, classes + 1) logits and (n, 4 x classes) boxes as `CODER` has them, float32."""
        return self.classes(vectors).float(), self.boxes(vectors).float()


def losses(
    logits: Float[Tensor, "n _"], deltas: Float[Tensor, "n _"], regions: Sequence[Regions], truth: Sequence[Objects]
) -> dict[str, Tensor]:
    """Cross entropy; L1 of the right class's box, summed over foreground, over the number of all regions."""
    classes = logits.shape[1] - 1
    labels = torch.cat([each.labels for each in regions])
    learned = [each.foreground(classes) for each in regions]
    boxes = torch.cat([image.boxes.float()[each.objects] for image, each in zip(truth, learned, strict=True)])
    right = CODER.encode_single(boxes, torch.cat([each.boxes for each in learned]))
    found = deltas.unflatten(1, (-1, 4))[labels < classes, labels[labels < classes]]
    return {
        "loss_classifier": functional.cross_entropy(logits, labels),
        "loss_box_reg": functional.l1_loss(found, right, reduction="sum") / len(labels),
    }


def detections(
    logits: Float[Tensor, "n _"],
    deltas: Float[Tensor, "n _"],
    proposals: Float[Tensor, "n 4"],
    shape: tuple[int, int],
) -> Detections:
    """What is found in an image of `shape`, height and width, without masks."""
    scores = logits.softmax(dim=1)[:, :-1]
    boxes = clip_boxes_to_image(CODER.decode_single(deltas, proposals).unflatten(1, (-1, 4)), shape)
    region, label = torch.where(scores > SCORE)
    boxes, scores = boxes[region, label], scores[region, label]
    kept = batched_nms(boxes, scores, label, NMS)[:MOST]
    kept = kept[(boxes[kept, 2:] > boxes[kept, :2]).all(dim=1)]
    return Detections(boxes[kept], scores[kept], label[kept])
