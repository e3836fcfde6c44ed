"""The picture of the demo: one alignment map over scenes that were not trained on, trained above untrained.

All maps share one colour scale, so that a flat map looks flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lewel.data import scenes
from lewel.demo import pointing
from lewel.evaluate.dense import tasks
from lewel.evaluate.maps.scenery import Square
from lewel.interop import runs
from lewel.visualize import style

NAME = "maps.png"  # report.html shows it too
COLUMNS = 8
ROWS = {"trained": "pretrained", "initial": "untrained"}
CELL, GAP, LABEL, MARGIN, NOTE, FOOT = 1.2, 0.06, 0.95, 0.15, 0.2, 0.32  # inches


def draw(loaded: runs.Loaded, found: pointing.Pointing, folder: Path, seed: int) -> bytes:
    """PNG. The seed draws the scenes, one a class; none is picked for its map. Its map is the one that was measured."""
    several = pointing.scenery(folder)
    numbers = drawn(len(several), seed)
    squares = [several.square(number) for number in numbers]
    maps = pointing.looking(loaded, torch.device("cpu")).maps([square.picture for square in squares])
    chosen = {
        kind: torch.stack([maps[kind][place, found.maps[number % 2]] for place, number in enumerate(numbers)])
        for kind in ROWS
    }
    return _sheet(squares, {ROWS[kind]: relative(rows) for kind, rows in chosen.items()})


def drawn(count: int, seed: int) -> list[int]:
    """Numbers of COLUMNS scenes of val, each of another class."""
    rng, classes = np.random.default_rng(seed), len(scenes.CLASSES)
    kinds = np.sort(rng.permutation(min(classes, count))[:COLUMNS])
    return [int(rng.choice(np.arange(kind, count, classes))) for kind in kinds]


def relative(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Weights as multiples of the uniform map's: 1 everywhere is global average pooling."""
    return maps * maps[0].numel()


def _sheet(squares: Sequence[Square], rows: dict[str, Float[Tensor, "b h w"]]) -> bytes:
    every = torch.cat([maps.flatten() for maps in rows.values()])
    low, high = every.min().item(), every.max().item()
    width = LABEL + len(squares) * (CELL + GAP) + MARGIN
    sheet = style.Sheet(width, MARGIN + (1 + len(rows)) * CELL + len(rows) * NOTE + FOOT)
    for column, square in enumerate(squares):
        sheet.image(LABEL + column * (CELL + GAP), MARGIN, CELL, CELL, np.asarray(square.picture))
    for number, (name, maps) in enumerate(rows.items()):
        y = MARGIN + CELL + GAP + number * (CELL + NOTE)
        sheet.text(MARGIN, y + CELL / 2, name, 9, va="center", weight="bold" if not number else "normal")
        for column, (square, one) in enumerate(zip(squares, maps, strict=True)):
            x = LABEL + column * (CELL + GAP)
            heat = ((_enlarged(one, square.picture) - low) / max(high - low, 1e-12)).clip(0, 1)
            axes = sheet.image(x, y, CELL, CELL, style.overlay(square.picture, heat, 0.7))
            share = _mark(axes, one, square)
            sheet.text(x + CELL / 2, y + CELL + 0.02, f"on object: {share:.0f} %", 7, style.MUTED, ha="center")
    told = f"One colour scale for all: {low:.2f} (dark) to {high:.2f} (bright) times the uniform weight. "
    told += "Line: outline of the objects, which training never saw. Dot: peak of the map."
    sheet.text(LABEL, sheet.height - FOOT + 0.06, told, 8, style.MUTED)
    return style.png(sheet.figure, dpi=130)


def _enlarged(one: Float[Tensor, "h w"], picture: Image.Image) -> np.ndarray:
    size = (picture.height, picture.width)
    return functional.interpolate(one[None, None], size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _mark(axes: Axes, one: Float[Tensor, "h w"], square: Square) -> float:
    """Outline the objects, dot the largest cell. Returns the per cent of object in that cell."""
    objects = ((square.classes > 0) & (square.classes < 255)).astype(float)
    axes.contour(objects, [0.5], colors="white", linewidths=0.9)
    (height, width), (top, left) = one.shape, divmod(int(one.argmax()), one.shape[1])
    x, y = (left + 0.5) / width * objects.shape[1] - 0.5, (top + 0.5) / height * objects.shape[0] - 0.5
    axes.plot(x, y, "o", color=style.BLUE, mec="white", ms=5)
    return 100 * float(pointing.shares(square, height, tasks.Maps())[top, left])
