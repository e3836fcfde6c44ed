"""FPN: maps of five strides, each for objects of its size (Lin et al., 2017); norm in every part but the RPN."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from lewel.evaluate.dense import norms
from lewel.evaluate.dense.backbone import levels, strides, widths
from lewel.evaluate.dense.detection import masks, regions
from lewel.evaluate.dense.detection.anchors import SIZES, Anchors
from lewel.evaluate.dense.detection.detector import Detector
from lewel.evaluate.dense.detection.pooling import CANONICAL, pooled
from lewel.evaluate.dense.detection.proposals import Counts, Proposals
from lewel.evaluate.dense.tasks import Detection
from lewel.model.encoder import Encoder

BEFORE = Counts(training=2000, testing=1000)  # proposals of a level before non-maximum suppression
AFTER = 1000  # in training
WIDTH, VECTOR, CONVOLUTIONS = 256, 1024, 4  # of the levels, of a region's vector, of each head
BOX_SIDE, MASK_SIDE = 7, 14  # of what the heads see of a region


class FPN(Detector):
    """Boxes and masks by heads of their own, of four convolutions each, from levels 2 to 5; proposals from 6 too.

    Each level is for objects of so many of its positions. Little images have little objects but the same strides;
    sizes that go with the square root of the scale meet the most objects (`build` says what scale is).
    """

    def __init__(self, encoder: Encoder, task: Detection, classes: int, scale: float):
        norm, of_levels, share = norms.new_norm(task.norm), strides(encoder), scale**0.5
        convolutions = [WIDTH] * CONVOLUTIONS
        anchors = Anchors([[share * size] for size in SIZES], (*of_levels, 2 * of_levels[-1]))
        four, last = MaskRCNNHeads(WIDTH, convolutions, 1, norm), masks.Predictor(WIDTH, classes)
        super().__init__(
            encoder,
            Proposals(WIDTH, anchors, BEFORE, Counts(AFTER, task.proposals)),
            regions.Predictor(VECTOR, classes),
            nn.Sequential(four, last) if task.masks else None,
            task.regions,
        )
        self.strides, self.canonical = of_levels, share * CANONICAL
        self.neck = FeaturePyramidNetwork(list(widths(encoder)), WIDTH, LastLevelMaxPool(), norm)
        self.box_head = FastRCNNConvFCHead((WIDTH, BOX_SIDE, BOX_SIDE), convolutions, [VECTOR], norm)
        for layer in self.box_head:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=1)  # Caffe2's "Xavier"
                nn.init.zeros_(layer.bias)

    def maps(self, images: Float[Tensor, "b 3 height width"]) -> list[Float[Tensor, "b c _ _"]]:
        return list(self.neck({str(place): each for place, each in enumerate(levels(self.encoder, images))}).values())

    def features(self, maps: list[Tensor], boxes: list[Tensor]) -> Float[Tensor, "n c side side"]:
        return self._pooled(maps, boxes, BOX_SIDE)

    def vectors(self, features: Float[Tensor, "n c side side"]) -> Float[Tensor, "n d"]:
        return self.box_head(features)

    def mask_features(
        self, maps: list[Tensor], boxes: list[Tensor], features: Float[Tensor, "n c side side"] | None
    ) -> Float[Tensor, "n d _ _"]:
        return self._pooled(maps, boxes, MASK_SIDE)

    def _pooled(self, maps: list[Tensor], boxes: list[Tensor], side: int) -> Tensor:
        return pooled(maps[: len(self.strides)], self.strides, boxes, side, self.canonical)
