"""The dilated FCN (Long et al. 2015) on a ResNet, in the two forms in which pretrained encoders are compared.

    fcn8    output stride 8; res5 -> 2 x (3x3, 512) -> joined to res5 -> 3x3, 512 -> dropout -> 1x1;
            in training beside it res4 -> 3x3, 256 -> dropout -> 1x1, its loss times 0.4 (mmsegmentation's FCN-D8)
    fcn16   output stride 16; res5 -> 2 x (3x3 of dilation 6, 256) -> 1x1 (MoCo, SlotCon)

Every 3x3 is followed by a norm and ReLU, and starts as Kaiming's normal (fan out); every 1x1 as N(0, 0.01), no bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from lewel.evaluate.dense import backbone, norms
from lewel.evaluate.dense.tasks import Segmentation
from lewel.evaluate.dense.truth.masks import IGNORED
from lewel.model.encoder import Encoder

WIDTH, SMALL_WIDTH = 512, 256  # of fcn8's head; of its auxiliary one and of fcn16's
DILATION = 6  # in fcn16's head
DROPOUT = 0.1  # of whole channels
AUXILIARY = 0.4  # the weight of its loss
STRIDES = {"fcn8": 8, "fcn16": 16}


class Classes(NamedTuple):
    """What is to be learned of an image: the class of each pixel, or 255 where none is counted."""

    values: UInt8[Tensor, "h w"]


class Head(nn.Module):
    """Features to a score for each class.

    joined: whether the features stand beside what was made of them before a last convolution.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        classes: int,
        task: Segmentation,
        dilation: int = 1,
        joined: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(_conv(width if place else channels, width, task, dilation) for place in range(depth))
        )
        self.joined = _conv(channels + width, width, task) if joined else None
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, classes, 1)
        assert self.classify.bias is not None
        nn.init.normal_(self.classify.weight, 0, 0.01)
        nn.init.zeros_(self.classify.bias)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        made = self.convs(features)
        if self.joined is not None:
            made = self.joined(torch.cat([features, made], dim=1))
        return self.classify(self.dropout(made))


class FCN(nn.Module):
    """The encoder, its head, and in fcn8 the auxiliary head, which only training uses."""

    def __init__(self, encoder: Encoder, head: Head, auxiliary: Head | None, align_corners: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.auxiliary = encoder, head, auxiliary
        self.align_corners = align_corners

    def forward(
        self, images: Float[Tensor, "b 3 h w"], sizes: Int[Tensor, "b 2"], targets: Sequence[Classes]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss and its parts. targets: all of one size, the least that images are filled up to, with 0."""
        truth = torch.stack([target.values for target in targets])
        (height, width), (high, wide) = truth.shape[1:], images.shape[2:]
        *_, res4, res5 = backbone.levels(
            self.encoder, functional.pad(images, (0, max(width - wide, 0), 0, max(height - high, 0)))
        )
        losses = {"loss_decode": cross_entropy(self._enlarged(self.head(res5), (height, width)), truth)}
        if self.auxiliary is not None:
            found = cross_entropy(self._enlarged(self.auxiliary(res4), (height, width)), truth)
            losses["loss_auxiliary"] = AUXILIARY * found
        return torch.stack([*losses.values()]).sum(), {name: loss.detach() for name, loss in losses.items()}

    def predict(
        self, images: Float[Tensor, "b 3 h w"], sizes: Int[Tensor, "b 2"]
    ) -> list[Float[Tensor, "classes height width"]]:
        """Scores of each pixel; `classes_at` compares them."""
        scores = self._enlarged(self.head(backbone.levels(self.encoder, images)[-1]), tuple(images.shape[2:]))
        return [row[:, :height, :width] for row, (height, width) in zip(scores, sizes.tolist(), strict=True)]

    def classes_at(self, scores: Float[Tensor, "classes h w"], size: tuple[int, int]) -> UInt8[Tensor, "height width"]:
        """The class of each pixel of the image as it was, of this height and width: scores are resized first."""
        return self._enlarged(scores[None], size)[0].argmax(dim=0).to(torch.uint8)

    def _enlarged(self, scores: Float[Tensor, "b c h w"], size: tuple[int, ...]) -> Float[Tensor, "b c height width"]:
        """In float32."""
        return functional.interpolate(scores.float(), size, mode="bilinear", align_corners=self.align_corners)


def dilated(encoder: Encoder, task: Segmentation) -> Encoder:
    """A copy with the task's output stride, all of it trained. Raises UserError for one that cannot be dilated."""
    encoder = deepcopy(encoder).requires_grad_(True)
    if stages := sum(stride > STRIDES[task.model] for stride in backbone.strides(encoder)):
        backbone.dilate(encoder, stages, task.dilated_convs)
    return encoder


def build(encoder: Encoder, task: Segmentation, classes: int) -> FCN:
    """The task's network on a copy of the encoder. Raises UserError for an encoder that cannot be dilated."""
    encoder = dilated(encoder, task)
    norms.convert(encoder, task.norm)
    *_, res4, res5 = backbone.widths(encoder)
    if task.model == "fcn16":
        head, auxiliary = Head(res5, SMALL_WIDTH, 2, classes, task, dilation=DILATION), None
    else:
        head = Head(res5, WIDTH, 2, classes, task, joined=True, dropout=DROPOUT)
        auxiliary = Head(res4, SMALL_WIDTH, 1, classes, task, dropout=DROPOUT)
    return FCN(encoder, head, auxiliary, task.align_corners)


def cross_entropy(scores: Float[Tensor, "b c h w"], truth: UInt8[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """The mean over all pixels, those that are not counted among them as 0: mmsegmentation's default."""
    return functional.cross_entropy(scores, truth.long(), ignore_index=IGNORED, reduction="none").mean()


def _conv(channels: int, width: int, task: Segmentation, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, norms.new_norm(task.norm)(width), nn.ReLU(inplace=True))
