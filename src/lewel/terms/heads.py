"""Projectors and predictors: from pooled rows to embeddings.

A kind of one's own subclasses `Head`, with a field `out` and a `build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lewel.checked import Kind, Positive

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Head(Kind):
    """Role: rows (b, n, width) to rows (b, n, out).

    out: size of an embedding.
    """

    out: Positive

    def build(self, width: int) -> nn.Module:
        """The module, for rows of `width` numbers."""
        raise NotImplementedError


@dataclass(frozen=True)
class MLP(Head):
    """Linear layers; between them [batch norm] and ReLU, behind the last one [batch norm].

    hidden: widths of the hidden layers; none make one linear layer.
    norm: batch norm in front of each ReLU.  bias: which linear layers have biases.
    out_norm: batch norm behind the last layer: "plain" without parameters, "weight" without bias, "affine" with both.
    init: "kaiming" = normal, fan_out, ReLU gain (LEWEL); "normal" = N(0, 0.01) (BYOL-EMAN's predictor);
    "linear" = torch's default of nn.Linear (MoCo v2).
    """

    hidden: tuple[Positive, ...] = ()
    norm: bool = True
    bias: Literal["all", "last", "none"] = "none"
    out_norm: Literal["none", "plain", "weight", "affine"] = "none"
    init: Literal["kaiming", "normal", "linear"] = "kaiming"

    def build(self, width: int) -> nn.Module:
        from lewel.model import head

        return head.MLP(width, self.hidden, self.out, self.norm, self.bias, self.out_norm, self.init)
