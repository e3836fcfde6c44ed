"""Parts of a diagram of tensors, placed in inches from the top left corner of a `style.Sheet`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray
from torch import Tensor

from lewel.visualize import style

TILE, STEP = 0.56, 0.12  # a map, and how far the next of a stack looks out behind it


def lively(stack: Float[Tensor, "m h w"], count: int = 3) -> Float[Tensor, "k h w"]:
    """The `count` maps that vary most over the positions, relative to their mean."""
    flat = stack.flatten(1)
    order = (flat.std(dim=1) / (flat.abs().mean(dim=1) + flat.abs().mean())).argsort(descending=True)
    return stack[order[:count]]


def relative(rows: Float[Tensor, "n d"]) -> NDArray[np.float32]:
    """The rows, each divided by its largest absolute value."""
    return (rows / rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)).numpy()


def stack(sheet: style.Sheet, x: float, y: float, shown: Float[Tensor, "m h w"], colours: str) -> None:
    """Maps one behind the other, the first in front."""
    count = len(shown)
    for i in reversed(range(count)):
        axes = sheet.image(x + i * STEP, y + (count - 1 - i) * STEP, TILE, TILE, shown[i].numpy(), cmap=colours)
        style.outline(axes, (0, 0, 1, 1), "white", 0.5)


def column(sheet: style.Sheet, x: float, middle: float, vector: Float[Tensor, " d"], colours: str) -> None:
    """A vector as a narrow column of cells."""
    sheet.image(x, middle - 0.38, 0.15, 0.76, relative(vector[None]).T, cmap=colours)


def arrow(sheet: style.Sheet, x0: float, y0: float, x1: float, y1: float) -> None:
    ends = [(x0, sheet.height - y0), (x1, sheet.height - y1)]
    head = FancyArrowPatch(
        *ends, arrowstyle="-|>", mutation_scale=9, color=style.MUTED, linewidth=1, shrinkA=0, shrinkB=0
    )
    head.set_transform(sheet.figure.dpi_scale_trans)
    sheet.figure.add_artist(head)


def line(sheet: style.Sheet, *points: tuple[float, float], colour: str = style.MUTED, width: float = 1) -> None:
    xs, ys = zip(*points, strict=True)
    drawn = Line2D(xs, [sheet.height - y for y in ys], color=colour, linewidth=width, solid_joinstyle="round")
    drawn.set_transform(sheet.figure.dpi_scale_trans)
    sheet.figure.add_artist(drawn)


def box(
    sheet: style.Sheet, x: float, y: float, width: float, height: float, name: str, colour: str = style.PURPLE
) -> None:
    """A function with its name, in mathtext."""
    patch = FancyBboxPatch((x, sheet.height - y - height), width, height, boxstyle="round,pad=0,rounding_size=0.06")
    patch.set(facecolor="white", edgecolor=colour, linewidth=1.4, transform=sheet.figure.dpi_scale_trans)
    sheet.figure.add_artist(patch)
    sheet.text(x + width / 2, y + height / 2, name, 10, colour, ha="center", va="center", parse_math=True)
