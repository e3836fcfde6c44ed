"""What the network is shown: images, their crops, and what was drawn for each view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lewel import config
from lewel.data import augment, pillow
from lewel.errors import UserError
from lewel.visualize import style


class Sample(NamedTuple):
    """An image with its views."""

    image: Image.Image
    parameters: tuple[augment.Parameters, ...]
    pixels: tuple[np.ndarray, ...]  # h x w x 3, uint8


def views_figure(images: Sequence[Image.Image], data: config.Data, seed: int = 0, n: int = 6) -> Figure:
    """The first n images, each with its views: those of a data set in this order, in epoch 0 of a run with `seed`.

    The crops are outlined on the image; what was drawn for a view stands below it.
    Raises UserError without images.
    """
    if not images[:n]:
        raise UserError("no image to show: none could be read, or none was asked for; --data and --images choose them")
    return _draw([sample(image, data, seed, index) for index, image in enumerate(images[:n])], data)


def sample(image: Image.Image, data: config.Data, seed: int, index: int) -> Sample:
    """The views of an RGB image in epoch 0."""
    drawn = tuple(
        augment.sample(view, image.size, data.image_size, seed, 0, index, number)
        for number, view in enumerate(data.views)
    )
    return Sample(image, drawn, tuple(np.asarray(pillow.augmented(image, one)) for one in drawn))


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    style.save(figure, path, dpi=110)


def describe(one: augment.Parameters) -> str:
    """What was drawn for a view, in three short lines."""
    _, _, width, height = one.crop
    share = width * height / (one.size[0] * one.size[1])
    where = [f"crop {100 * share:.0f} %, {width} x {height}"]
    where += ["flip"] if one.flip else []
    where += ["vertical flip"] if one.vertical_flip else []
    where += [f"turned {one.rotation:+.0f}°"] if one.rotation else []
    colours = " ".join(f"{name[:3]} {strength:{'+.2f' if name == 'hue' else '.2f'}}" for name, strength in one.jitter)
    rest = ["gray"] if one.gray else []
    rest += [f"blur {one.blur:.1f} px"] if one.blur else []
    rest += ["solarized"] if one.solarize else []
    return "\n".join([", ".join(where), colours or "colours as they are", ", ".join(rest)]).rstrip()


# -- drawing, in inches

CELL, GAP, TEXT, MARGIN, HEAD = 1.55, 0.12, 0.52, 0.25, 0.85


def _draw(found: list[Sample], data: config.Data) -> Figure:
    pictures = 1 + len(data.views)
    across = 2 if len(found) > 2 else 1
    block = pictures * CELL + (pictures - 1) * GAP
    rows = -(-len(found) // across)
    width = 2 * MARGIN + across * block + (across - 1) * 0.45
    sheet = style.Sheet(max(width, 5.4), HEAD + rows * (CELL + TEXT) + 0.15)
    sheet.text(MARGIN, 0.18, "What it is shown", 12, weight="bold")
    about = f"{data.image_size} px views as in the first epoch; the boxes are their crops, in the colours of the titles"
    sheet.text(MARGIN, 0.42, about, 8, style.MUTED)
    for i, one in enumerate(found):
        x = MARGIN + (i % across) * (block + 0.45)
        _block(sheet, x, HEAD + (i // across) * (CELL + TEXT), one, titles=i < across)
    return sheet.figure


def _block(sheet: style.Sheet, x: float, y: float, shown: Sample, titles: bool) -> None:
    """The image with its crops, then its views."""
    width, height = shown.image.size
    w, h = CELL * min(1, width / height), CELL * min(1, height / width)
    small = shown.image.copy()
    small.thumbnail((400, 400))
    axes = sheet.image(x + (CELL - w) / 2, y + (CELL - h) / 2, w, h, np.asarray(small))
    sheet.text(x, y + CELL + 0.04, f"{width} x {height}", 6, style.MUTED, linespacing=1.4)
    for number, (one, pixels) in enumerate(zip(shown.parameters, shown.pixels, strict=True)):
        colour = style.SERIES[number % len(style.SERIES)]
        if not one.rotation:  # the crop is cut from the turned image, which is not what is shown
            style.outline(axes, one.box(), colour)
        left = x + (number + 1) * (CELL + GAP)
        sheet.image(left, y, CELL, CELL, pixels)
        if titles:
            sheet.text(left, y - 0.04, f"view {number + 1}", 8, colour, va="bottom", weight="bold")
        sheet.text(left, y + CELL + 0.04, describe(one), 6, style.MUTED, linespacing=1.4)
    if titles:
        sheet.text(x, y - 0.04, "image", 8, va="bottom", weight="bold")
