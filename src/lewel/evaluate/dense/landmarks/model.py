"""Points by integral regression (Sun et al. 2018) of heat maps by deconvolutions (Xiao et al. 2018, Simple Baselines).

encoder     images -> its last map, at 1/32 of the image for ResNets
up          deconvolutions of 4 x 4 and stride 2 with 256 channels, norm and ReLU, until a position has 4 pixels:
            three of them at 1/32, 8 x 8 -> 64 x 64 for images of 256 pixels
maps        1 x 1 convolution to one map a point
points      softmax over the positions of each map, and the mean position under it
loss        L1 of the points that are not hidden, in positions of the maps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lewel.evaluate.dense.landmarks.views import Points
from lewel.evaluate.dense.norms import convert, new_norm
from lewel.evaluate.dense.tasks import Norm
from lewel.model.encoder import Encoder

STRIDE = 4  # pixels of a position of the heat maps
WIDTH = 256
DEVIATION = 0.001  # of the first weights


class Regressor(nn.Module):
    """Encoder and heat maps of k points. image_size: for which the number of deconvolutions is chosen."""

    def __init__(self, encoder: Encoder, points: int, image_size: int, norm: Norm) -> None:
        super().__init__()
        channels, height, _ = encoder.map_shape(image_size)
        convert(encoder, norm)
        self.encoder = encoder
        times = max(round(math.log2(image_size / height / STRIDE)), 0)
        steps = [_up(channels if number == 0 else WIDTH, new_norm(norm)) for number in range(times)]
        self.up = nn.Sequential(*steps)
        self.maps = nn.Conv2d(WIDTH if steps else channels, points, kernel_size=1)
        nn.init.normal_(self.maps.weight, 0, DEVIATION)
        nn.init.zeros_(cast(Tensor, self.maps.bias))

    def heat_maps(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b k h w"]:
        """Before softmax, in float32: 8 bits of a large value would say a position too little."""
        features = self.up(self.encoder(images))
        with torch.autocast(images.device.type, enabled=False):
            return self.maps(features.float())

    def forward(
        self, images: Float[Tensor, "b 3 height width"], sizes: Int[Tensor, "b 2"], targets: Sequence[Points]
    ) -> tuple[Float[Tensor, ""], dict[str, Any]]:
        maps = self.heat_maps(images)
        truth = torch.stack([target.xy for target in targets])
        seen = ~truth.isnan().any(dim=2, keepdim=True)
        away = (soft_argmax(maps) - truth.where(seen, 0) / _pixels(images, maps)).abs()
        loss = away.where(seen, 0).sum() / (2 * seen.sum()).clamp(min=1)
        return loss, {"loss_points": loss.detach()}

    def predict(self, images: Float[Tensor, "b 3 height width"], sizes: Int[Tensor, "b 2"]) -> Float[Tensor, "b k 2"]:
        """x and y in pixels of `images`, the first one from 0 0 to 1 1."""
        maps = self.heat_maps(images)
        return soft_argmax(maps) * _pixels(images, maps)


def soft_argmax(maps: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k 2"]:
    """The mean x and y under softmax; the first position is from 0 to 1, its middle 0.5."""
    shares = maps.float().flatten(2).softmax(dim=2).unflatten(2, maps.shape[2:])
    x, y = (torch.arange(side, device=maps.device) + 0.5 for side in (maps.shape[3], maps.shape[2]))
    return torch.stack([(shares.sum(dim=2) * x).sum(dim=2), (shares.sum(dim=3) * y).sum(dim=2)], dim=2)


def _pixels(images: Tensor, maps: Tensor) -> Float[Tensor, 2]:
    """Of a position, along x and y: the maps lie evenly over the image."""
    return torch.tensor([images.shape[side] / maps.shape[side] for side in (3, 2)], device=images.device)


def _up(channels: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    deconvolution = nn.ConvTranspose2d(channels, WIDTH, kernel_size=4, stride=2, padding=1, bias=False)
    nn.init.normal_(deconvolution.weight, 0, DEVIATION)
    return nn.Sequential(deconvolution, norm(WIDTH), nn.ReLU(inplace=True))
