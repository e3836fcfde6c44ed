"""C4: one map, res4; its regions go through res5 (He et al., 2016; MoCo's with one norm more)."""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from lewel.evaluate.dense import norms
from lewel.evaluate.dense.backbone import levels, resnet, strides, widths
from lewel.evaluate.dense.detection import masks, regions
from lewel.evaluate.dense.detection.anchors import SIZES, Anchors
from lewel.evaluate.dense.detection.detector import Detector
from lewel.evaluate.dense.detection.pooling import pooled
from lewel.evaluate.dense.detection.proposals import Counts, Proposals
from lewel.evaluate.dense.tasks import Detection
from lewel.model.encoder import Encoder

BEFORE = Counts(training=12000, testing=6000)  # proposals before non-maximum suppression
AFTER = 2000  # in training
SIDE = 14  # of what res5 sees of a region


class C4(Detector):
    """Boxes from the mean of res5 over the region; masks from the same features, a head of two layers on them."""

    def __init__(self, encoder: Encoder, task: Detection, classes: int, scale: float):
        stride, (*_, res4, res5) = strides(encoder)[2], widths(encoder)
        anchors = Anchors([[scale * size for size in SIZES]], [stride])
        super().__init__(
            encoder,
            Proposals(res4, anchors, BEFORE, Counts(AFTER, task.proposals)),
            regions.Predictor(res5, classes),
            masks.Predictor(res5, classes) if task.masks else None,
            task.regions,
        )
        self.stride = stride
        self.extra_norm = norms.new_norm(task.norm)(res5) if task.extra_norm else nn.Identity()

    def maps(self, images: Float[Tensor, "b 3 height width"]) -> list[Float[Tensor, "b c _ _"]]:
        return levels(self.encoder, images, last=4)[-1:]

    def features(self, maps: list[Tensor], boxes: list[Tensor]) -> Float[Tensor, "n c side side"]:
        res5 = cast(Any, resnet(self.encoder)).layer4
        return self.extra_norm(res5(pooled(maps, (self.stride,), boxes, SIDE)))

    def vectors(self, features: Float[Tensor, "n c side side"]) -> Float[Tensor, "n c"]:
        return features.mean(dim=(2, 3))

    def mask_features(
        self, maps: list[Tensor], boxes: list[Tensor], features: Float[Tensor, "n c side side"] | None
    ) -> Float[Tensor, "n c side side"]:
        return self.features(maps, boxes) if features is None else features
