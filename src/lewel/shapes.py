"""The letters and the few tuples that every part passes on.

    b images   c channels   h, w rows, columns   p = h * w positions   d embedding size
    m maps     g channel groups   n = m / g aligned embeddings of one image

The paper's letters where they differ: its C is our c, its h (heads) our g, its c' our d of the aligned projector.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class View(NamedTuple):
    """One augmented view of a batch, and where it lies in the images, for methods that ask for it.

    geometry: in whole pixels left, top, width and height of the crop, width and height of the image; then 1 or 0 for
    mirrored left-right, upside down.
    """

    pixels: Float[Tensor, "b 3 h w"]  # normalised
    geometry: Int[Tensor, "b 8"] | None = None


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
