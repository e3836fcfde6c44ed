"""Where to look: alignment maps, and the weighted pooling by them (eq. 1, 2 and 6 of the paper).

Every kind is a function of the features and, for "coupled", of the heat-maps that another term's projector has made. A
map is non-negative and sums to 1 over the p positions; what differs between methods is only where it comes from:

    uniform    1/p                                     MoCo v2, BYOL
    pixel      one-hot                                 one embedding a position
    grid       1/|cell| inside a cell, else 0
    random     softmax(normalize(noise))               the control of Table 6
    learned    softmax(normalize(head(F)))             Table 5, without coupled head
    coupled    softmax(normalize(projector(F)))        LEWEL
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lewel.errors import UserError
from lewel.shapes import Features


def at_least_fp32(x: Tensor) -> Tensor:
    """bf16 and fp16 to fp32; near-uniform maps (1/49 +- 15 %) do not survive the 8 bits of bf16."""
    return x if x.dtype == torch.float64 else x.float()


def alignment_maps(heat: Float[Tensor, "b p d"], temperature: float = 1.0) -> Float[Tensor, "b d p"]:
    """Normalise over the d channels at each position, then softmax over the positions of each channel."""
    heat = functional.normalize(at_least_fp32(heat), dim=2) / temperature
    return heat.softmax(dim=1).transpose(1, 2)


def aggregate(tokens: Float[Tensor, "b p c"], maps: Float[Tensor, "b m p"], groups: int = 1) -> Float[Tensor, "b n c"]:
    """Pool the positions by the maps, each block of channels by its own block of maps (eq. 6, Fig. 4).

    y[b, k, c] = sum_p maps[b, n * floor(c * groups / C) + k, p] * tokens[b, p, c],   n = m / groups
    """
    b, p, c = tokens.shape
    n = maps.shape[1] // groups
    with torch.autocast(tokens.device.type, enabled=False):
        blocks = at_least_fp32(tokens).view(b, p, groups, c // groups).transpose(1, 2)  # b g p c/g
        pooled = maps.to(blocks.dtype).reshape(b, groups, n, p) @ blocks  # b g n c/g
    return pooled.transpose(1, 2).reshape(b, n, c)


class Uniform(nn.Module):
    """1/p everywhere: global average pooling."""

    def forward(self, features: Features) -> Float[Tensor, "b 1 p"]:
        b, p, _ = features.tokens.shape
        return at_least_fp32(features.tokens).new_full((1, 1, 1), 1 / p).expand(b, 1, p)


class Pixel(nn.Module):
    """One-hot maps: the aligned embeddings are the positions themselves."""

    def forward(self, features: Features) -> Float[Tensor, "b p p"]:
        b, p, _ = features.tokens.shape
        eye = torch.eye(p, device=features.tokens.device, dtype=at_least_fp32(features.tokens[:0]).dtype)
        return eye.expand(b, p, p)


class Grid(nn.Module):
    """The means of a size x size grid of boxes; rows and columns are dealt to cells as evenly as they go."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, features: Features) -> Float[Tensor, "b m p"]:
        height, width = features.size
        self.check(height, width)
        device = features.tokens.device
        row = torch.arange(height, device=device) * self.size // height
        column = torch.arange(width, device=device) * self.size // width
        cell = (row[:, None] * self.size + column).flatten()
        inside = functional.one_hot(cell, self.size**2).T.to(at_least_fp32(features.tokens[:0]).dtype)
        return (inside / inside.sum(dim=1, keepdim=True)).expand(features.tokens.shape[0], -1, -1)

    def check(self, height: int, width: int) -> None:
        """Raises UserError where a cell would be empty."""
        if self.size > min(height, width):
            raise UserError(
                f"a grid of {self.size} x {self.size} cells is finer than the {height} x {width} feature map; "
                "use fewer cells in the recipe, or a larger --image-size"
            )


class Random(nn.Module):
    """Heat-maps of noise, drawn anew at each forward: the control that Table 6 calls "rand."."""

    def __init__(self, count: int, temperature: float):
        super().__init__()
        self.count, self.temperature = count, temperature

    def forward(self, features: Features) -> Float[Tensor, "b d p"]:
        b, p, _ = features.tokens.shape
        noise = torch.randn(b, p, self.count, device=features.tokens.device)
        return alignment_maps(noise.to(at_least_fp32(features.tokens[:0]).dtype), self.temperature)


class Learned(nn.Module):
    """A head that makes maps and nothing else."""

    def __init__(self, head: nn.Module, temperature: float):
        super().__init__()
        self.head, self.temperature = head, temperature

    def forward(self, features: Features) -> Float[Tensor, "b d p"]:
        return alignment_maps(self.head(features.tokens), self.temperature)


class Coupled(nn.Module):
    """The maps are what the source term's projector says at each position: the head is shared with the embedding."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, features: Features, heat: Float[Tensor, "b p d"]) -> Float[Tensor, "b d p"]:
        return alignment_maps(heat, self.temperature)
