"""Faster R-CNN, and Mask R-CNN where there are masks: proposals, then their classes, boxes and masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lewel.evaluate.dense.detection import masks, regions
from lewel.evaluate.dense.detection.objects import Detections, Objects
from lewel.evaluate.dense.detection.proposals import Proposals
from lewel.model.encoder import Encoder


class Detector(nn.Module, ABC):
    """What C4 and FPN have in common.

    mask_head: regions' features to logits, for each class one of a square; None: boxes only.
    most: regions of an image that are learned from.
    """

    def __init__(
        self,
        encoder: Encoder,
        proposals: Proposals,
        predictor: regions.Predictor,
        mask_head: nn.Module | None,
        most: int,
    ):
        super().__init__()
        self.encoder, self.proposals, self.predictor, self.mask_head = encoder, proposals, predictor, mask_head
        self.classes, self.most = predictor.classes.out_features - 1, most

    @abstractmethod
    def maps(self, images: Float[Tensor, "b 3 height width"]) -> list[Float[Tensor, "b c _ _"]]:
        """Those that objects are proposed from."""

    @abstractmethod
    def features(self, maps: list[Tensor], boxes: list[Tensor]) -> Float[Tensor, "n c side side"]:
        """What is known of all images' regions."""

    @abstractmethod
    def vectors(self, features: Float[Tensor, "n c side side"]) -> Float[Tensor, "n d"]:
        """The same as a vector each, to tell class and box from."""

    @abstractmethod
    def mask_features(
        self, maps: list[Tensor], boxes: list[Tensor], features: Float[Tensor, "n c side side"] | None
    ) -> Float[Tensor, "n d _ _"]:
        """To tell the masks of regions from. features: of these regions, where they are known already."""

    def forward(
        self, images: Float[Tensor, "b 3 height width"], sizes: Int[Tensor, "b 2"], targets: Sequence[Objects]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss and its parts. In train mode. Objects may be none; masks are needed where there is a mask head."""
        maps = self.maps(images)
        proposals, parts = self.proposals.propose(images, _shapes(sizes), maps, targets)
        drawn = [
            regions.drawn(found, truth, self.classes, self.most)
            for found, truth in zip(proposals, targets, strict=True)
        ]
        features = self.features(maps, [each.boxes for each in drawn])
        logits, deltas = self.predictor(self.vectors(features))
        parts |= regions.losses(logits, deltas, drawn, targets)
        if self.mask_head is not None:
            parts["loss_mask"] = self._mask_loss(self.mask_head, maps, features, drawn, targets)
        return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}

    def predict(self, images: Float[Tensor, "b 3 height width"], sizes: Int[Tensor, "b 2"]) -> list[Detections]:
        """What is found in each image. In eval mode."""
        maps, shapes = self.maps(images), _shapes(sizes)
        proposals, _ = self.proposals.propose(images, shapes, maps, None)
        lengths = [len(each) for each in proposals]
        predicted = self.predictor(self.vectors(self.features(maps, proposals)))
        logits, deltas = (each.split(lengths) for each in predicted)
        found = list(map(regions.detections, logits, deltas, proposals, shapes))
        return found if self.mask_head is None else self._with_masks(self.mask_head, maps, found)

    def _mask_loss(
        self,
        head: nn.Module,
        maps: list[Tensor],
        features: Tensor,
        drawn: Sequence[regions.Regions],
        truth: Sequence[Objects],
    ) -> Tensor:
        foreground = [each.foreground(self.classes) for each in drawn]
        known = features[torch.cat([each.labels for each in drawn]) < self.classes]
        if not len(known):
            return torch.stack([parameter.float().sum() for parameter in head.parameters()]).sum() * 0
        logits = head(self.mask_features(maps, [each.boxes for each in foreground], known))
        return masks.loss(logits, foreground, truth)

    def _with_masks(self, head: nn.Module, maps: list[Tensor], found: list[Detections]) -> list[Detections]:
        labels = torch.cat([each.labels for each in found])
        logits = head(self.mask_features(maps, [each.boxes for each in found], None))
        shares = masks.of_class(logits, labels).sigmoid().split([len(each.labels) for each in found])
        return [each._replace(masks=share) for each, share in zip(found, shares, strict=True)]


def _shapes(sizes: Int[Tensor, "b 2"]) -> list[tuple[int, int]]:
    return [(height, width) for height, width in sizes.tolist()]
