"""Y(view) = project(aggregate(F(view), maps)): one network, online or target."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lewel.model.encoder import Encoder
from lewel.model.maps import aggregate
from lewel.shapes import Embeddings, Features


class Path(NamedTuple):
    """How a term runs through the branch, in names of the branch's modules."""

    name: str
    projector: str  # the term whose projector is used, most often its own
    groups: int
    heat: str | None  # the term whose projector's output at each position goes to the maps, too
    fixed: bool  # whether the maps are the same for every image


class Branch(nn.Module):
    """Encoder, maps and projectors. The predictors are not part of it: the target has none.

    A projector whose term is the source of coupled maps runs once, on [pooled vectors, all positions]: the embedding
    and the heat-maps share that call and its BN statistics.
    """

    def __init__(self, encoder: Encoder, maps: nn.ModuleDict, projectors: nn.ModuleDict, paths: tuple[Path, ...]):
        super().__init__()
        self.encoder, self.maps, self.projectors, self.paths = encoder, maps, projectors, paths
        self.sources = {path.heat for path in paths if path.heat}
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def compile_encoder(self) -> None:
        """By torch.compile, for one size of batch: what evaluates the encoder, with others, does not go through it."""
        self._compiled = torch.compile(self.encoder.forward, dynamic=False)

    def forward(self, pixels: Float[Tensor, "b 3 height width"]) -> Embeddings:
        return self.embed(self.encode(pixels))

    def encode(self, pixels: Float[Tensor, "b 3 height width"]) -> Features:
        feature_map = (self._compiled or self.encoder)(pixels)
        size = (feature_map.shape[2], feature_map.shape[3])
        return Features(feature_map.flatten(2).transpose(1, 2), size)

    def embed(self, features: Features) -> Embeddings:
        embeddings: dict[str, Tensor] = {}
        maps: dict[str, Tensor] = {}
        heat: dict[str, Tensor] = {}
        for path in self.paths:
            inputs = (features,) if path.heat is None else (features, heat[path.heat])
            maps[path.name] = self.maps[path.name](*inputs)
            pooled = aggregate(features.tokens, maps[path.name], path.groups)
            project = self.projectors[path.projector]
            if path.name in self.sources:
                n = pooled.shape[1]
                rows = project(torch.cat([pooled.to(features.tokens.dtype), features.tokens], dim=1))
                embeddings[path.name], heat[path.name] = rows[:, :n], rows[:, n:]
            else:
                embeddings[path.name] = project(pooled)
        return Embeddings(embeddings, maps, features)
