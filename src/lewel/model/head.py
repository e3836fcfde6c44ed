"""g, g_o and the predictors: linear layers with [batch norm] and ReLU between them, applied to every row.

A 1x1 convolution over positions and a linear layer over rows are the same map, so one class serves pooled vectors,
positions and aligned vectors; the batch norm's statistics are over all rows (b * n) of the call.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """(b, n, width) to (b, n, out). See `terms.MLP` for the numbers.

    The layers are named hidden, norm, hidden_2, norm_2, ..., out, out_norm.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int],
        out: int,
        norm: bool = True,
        bias: str = "none",
        out_norm: str = "none",
        init: str = "kaiming",
    ):
        super().__init__()
        self.out_features = out
        self.layers: list[tuple[str, str]] = []
        for number, size in enumerate(hidden, 1):
            suffix = f"_{number}" if number > 1 else ""
            self.add_module(f"hidden{suffix}", nn.Linear(width, size, bias=bias == "all"))
            self.add_module(f"norm{suffix}", nn.BatchNorm1d(size) if norm else nn.Identity())
            self.layers.append((f"hidden{suffix}", f"norm{suffix}"))
            width = size
        self.out = nn.Linear(width, out, bias=bias != "none")
        self.out_norm = _out_norm(out, out_norm)
        if out_norm != "none" and self.out.bias is not None:
            self.out.bias.requires_grad_(False)  # batch norm takes it away again: it would get no gradient but noise
        for linear in self.children():
            if isinstance(linear, nn.Linear) and init != "linear":
                _initialise(linear, init)

    def forward(self, rows: Float[Tensor, "b n width"]) -> Float[Tensor, "b n d"]:
        b, n, width = rows.shape
        flat = rows.reshape(b * n, width)
        for linear, norm in self.layers:
            flat = getattr(self, norm)(getattr(self, linear)(flat)).relu()
        return self.out_norm(self.out(flat)).view(b, n, self.out_features)


def _out_norm(width: int, kind: str) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    norm = nn.BatchNorm1d(width, affine=kind != "plain")
    if kind == "weight":
        norm.bias = None  # pyright: ignore[reportAttributeAccessIssue]  # which torch allows
    return norm


def _initialise(linear: nn.Linear, init: str) -> None:
    if init == "kaiming":
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(linear.weight, std=0.01)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
