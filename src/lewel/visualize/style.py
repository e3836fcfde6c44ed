"""One look for every picture: colours, type, cells placed by the inch. Made without pyplot: no global state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lewel.data import own_pictures
from lewel.engine import files

INK = "#1d2430"
MUTED = "#667085"
RULE = "#c9cfd8"
BLUE, ORANGE, GREEN, PURPLE = "#2b6cd4", "#d4692a", "#1f8f6b", "#8456c8"  # told apart with colour-blind eyes too
SERIES = (BLUE, ORANGE, GREEN, PURPLE)
HEAT = colormaps["inferno"]


class Shown(Figure):
    """A figure that a notebook shows where it ends a cell."""

    def _repr_png_(self) -> bytes:
        return png(self)


class Sheet:
    """A white figure addressed in inches from its top left corner."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Shown(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without frame or ticks."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        return axes

    def text(self, x: float, y: float, text: str, size: float = 8, colour: str = INK, **kwargs: Any) -> None:
        """Text as it is, no mathtext, with its top left corner at (x, y) unless `ha` and `va` say otherwise."""
        options: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False} | kwargs
        self.figure.text(x / self.width, 1 - y / self.height, text, fontsize=size, color=colour, **options)

    def image(self, x: float, y: float, width: float, height: float, pixels: NDArray, **kwargs: Any) -> Axes:
        """Pixels, or a matrix with its colour map, stretched over the box; cells keep their edges."""
        axes = self.axes(x, y, width, height)
        axes.imshow(pixels, aspect="auto", interpolation="nearest", **kwargs)
        return axes


def outline(axes: Axes, box: tuple[float, float, float, float], colour: str, width: float = 1.5) -> None:
    """A box x0 y0 x1 y1, shares of the axes, on a white edge so that it shows on any picture."""
    x0, y0, x1, y1 = box
    for line, shade in ((width + 1.4, "white"), (width, colour)):
        patch = Rectangle((x0, 1 - y1), x1 - x0, y1 - y0, fill=False, edgecolor=shade, linewidth=line)
        patch.set_transform(axes.transAxes)
        axes.add_patch(patch)


def overlay(picture: Image.Image, weight: NDArray[np.floating], strength: float = 0.6) -> NDArray[np.uint8]:
    """The picture in gray under a heat map in [0, 1] of the picture's size."""
    gray = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    heat = HEAT(weight)[..., :3]
    return np.rint(255 * ((1 - strength) * gray + strength * heat)).astype(np.uint8)


def png(figure: Figure, dpi: int = 150, colours: int | None = None) -> bytes:
    """The figure as PNG, marked as lewel's own. colours: at most so many, for a smaller file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", metadata=own_pictures.MARK)
    if colours is None:
        return buffer.getvalue()
    with Image.open(buffer) as image:
        small = image.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    mark = PngInfo()
    for key, value in own_pictures.MARK.items():
        mark.add_text(key, value)
    small.save(buffer, "png", optimize=True, pnginfo=mark)
    return buffer.getvalue()


def save(figure: Figure, path: Path, dpi: int = 150, colours: int | None = None) -> None:
    """Write the figure as PNG; the folder is made where it is missing. Raises UserError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.deliver(path, png(figure, dpi, colours))
