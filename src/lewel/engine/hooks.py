"""What a module may define beside `loss, out = module(*views)`; the loop calls what is there.

One optimizer step, from the first to the last call:

    on_epoch_start(epoch, features)    of an epoch's first step alone
    before_step(step, total)
    loss, out = module(*views)         for each micro-batch and part, then its backward pass
    before_update(step)                gradients averaged over processes and finite, optimizer not yet called
    after_step(*outs)                  the optimizer has stepped

A step that is rejected (not finite) calls neither `before_update` nor `after_step`, and the batch norms' running
statistics are put back. All state must be in the module's state dict: a run then goes on exactly as it would have.

`out` is a dict without gradient; every entry is optional. The record and the verdict on a run's health are made of
    "loss/NAME" ()   "embeddings" {NAME: (b, n, d)}   "maps" {NAME: (b, m, h, w)}   "pooled" (b, c) features
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

Out = dict[str, Any]
Features = Callable[[nn.Module], tuple[Float[Tensor, "n c"], Int[Tensor, " n"]]]


@runtime_checkable
class StartsEpoch(Protocol):
    """A module that computes buffers before the first step of each epoch, epochs counted from 0.

    `features(network)` are those of all training images that can be read, in their order, one central crop each, and
    the images' numbers: network maps images to vectors (b, c), and is in eval mode meanwhile. Each process makes all of
    them.
    """

    def on_epoch_start(self, epoch: int, features: Features) -> None: ...


@runtime_checkable
class PreparesStep(Protocol):
    """A module that does something before each optimizer step, and once only if the step before was rejected."""

    def before_step(self, step: int, total_steps: int) -> None: ...


@runtime_checkable
class ChangesGradients(Protocol):
    """A module that changes its gradients, once they are averaged over micro-batches and processes."""

    def before_update(self, step: int) -> None: ...


@runtime_checkable
class FinishesStep(Protocol):
    """A module that does something after each accepted optimizer step, with the `out` of each micro-batch."""

    def after_step(self, *outs: Out) -> None: ...


@runtime_checkable
class TakesIndices(Protocol):
    """A module that is called with the images' numbers in the data, too: `module(*views, indices=(b,))`, where True."""

    takes_indices: bool


@runtime_checkable
class TakesGeometry(Protocol):
    """A module whose views carry their geometry, where True."""

    takes_geometry: bool


@runtime_checkable
class HasParts(Protocol):
    """A module whose loss is a sum of parts that share no activations: `loss, out = module(*inputs, part=k)`.

    They are done one after the other, backward pass and all, so that the memory holds the activations of one.
    """

    def parts(self, *inputs: Any) -> int: ...
    def joined(self, outs: Sequence[Out]) -> Out: ...
