"""The letters and the few tuples that every part passes on.

    b images   c channels   h, w rows, columns   p = h * w positions   d embedding size
    m maps     g channel groups   n = m / g aligned embeddings of one image

The paper's letters where they differ: its C is our c, its h (heads) our g, its c' our d of the aligned projector.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class View(NamedTuple):
    """One augmented view of a batch, with the geometry that made it."""

    pixels: Float[Tensor, "b 3 h w"]  # normalised
    box: Float[Tensor, "b 4"] | None = None  # crop in the source image: x0 y0 x1 y1, shares of width and height
    flip: Bool[Tensor, " b"] | None = None  # mirrored left-right


class Skip(NamedTuple):
    """An image that could not be decoded, and why."""

    path: str
    reason: str


class Batch(NamedTuple):
    """What the loader yields: the views, the images' indices in the data set, and the files that had to be replaced."""

    views: tuple[View, ...]
    indices: Int[Tensor, " b"]
    skipped: list[Skip]


class Features(NamedTuple):
    """The encoder's last feature map as rows, before any pooling."""

    tokens: Float[Tensor, "b p c"]
    size: tuple[int, int]  # h, w


class Compared(NamedTuple):
    """What an objective has compared of one direction, without gradient."""

    predicted: Float[Tensor, "b n d"]  # online, after the predictor
    target: Float[Tensor, "b m d"]  # before its rows are paired
    indices: Int[Tensor, " b"] | None  # of the images, where they are known


class Embeddings(NamedTuple):
    """What a branch makes of a view: one entry a term."""

    embeddings: dict[str, Float[Tensor, "b n d"]]
    maps: dict[str, Float[Tensor, "b m p"]]
    features: Features
