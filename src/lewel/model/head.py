"""g, g_o and the predictors: linear, [batch norm], ReLU, linear, applied to every row.

A 1x1 convolution over positions and a linear layer over rows are the same map, so one class serves pooled vectors,
positions and aligned vectors; the batch norm's statistics are over all rows (b * n) of the call.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from lewel import config


class Head(nn.Module):
    """(b, n, in) to (b, n, out). See `config.Head` for norm, bias and init."""

    def __init__(self, width: int, head: config.Head):
        super().__init__()
        self.out_features = head.out
        self.hidden = nn.Linear(width, head.hidden, bias=head.bias)
        self.norm = nn.BatchNorm1d(head.hidden) if head.norm else nn.Identity()
        self.out = nn.Linear(head.hidden, head.out, bias=head.bias)
        if head.init != "linear":
            _initialise(self.hidden, head.init)
            _initialise(self.out, head.init)

    def forward(self, rows: Float[Tensor, "b n width"]) -> Float[Tensor, "b n d"]:
        b, n, width = rows.shape
        hidden = self.norm(self.hidden(rows.reshape(b * n, width))).relu()
        return self.out(hidden).view(b, n, self.out_features)


def _initialise(linear: nn.Linear, init: str) -> None:
    if init == "kaiming":
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(linear.weight, std=0.01)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
