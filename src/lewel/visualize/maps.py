"""Where it looks: alignment maps over photographs, trained beside those before training (Fig. 5 of the paper).

With s = 1 the maps are nearly uniform, because the heat-maps are l2-normalised before the softmax: the weights differ
by some per cent. So each map is stretched from its own minimum to its own maximum, and its entropy is printed below it,
as a share of log p.

At training size a feature map has 2 x 2 to 7 x 7 positions. The pictures are encoded larger, by default at twice the
training's size, and drawn with bilinear interpolation; where cells are few, their borders are drawn too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from lewel import config
from lewel.data import augment, pillow
from lewel.errors import UserError
from lewel.model.method import Method
from lewel.model.modes import evaluating
from lewel.visualize import style

LEAST_IMAGES = 6
MAPS = 4
ALIKE = 0.7  # correlation of two maps above which one of them is enough
GRID_LINES = 8  # cells a side up to which their borders are drawn


class Column(NamedTuple):
    """A square picture as the encoder gets it."""

    title: str
    picture: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...] = ()  # of the views cut from it


def maps_figure(
    trained: Method,
    initial: Method,
    images: Sequence[Image.Image],
    data: config.Data,
    indices: Sequence[int] | None = None,
    *,
    term: str | None = None,
    size: int | None = None,
    seed: int = 0,
) -> Figure:
    """The same maps over all images and over both views of the first, for two networks of one recipe.

    images: six or more RGB pictures of any size; their central squares are shown.
    indices: which maps; by default the `MAPS` of the trained network that `choose` finds. Both networks show the same.
    term: whose maps; by default the first term whose maps can vary.
    size: side of the encoder's input, a multiple of 32; by default twice the training's.
    seed: of the two views.

    Both networks run in eval mode and are as before afterwards, and so are the random numbers.
    Raises UserError: a method that pools uniformly; too few images; an index, a term or a size that does not fit.
    """
    name = varying_term(trained, term)
    side = _side(size, data.image_size)
    columns = _columns(images, data, side, seed)
    pixels = stacked([column.picture for column in columns], data)
    maps = {"trained": alignment(trained, pixels, name), "before": alignment(initial, pixels, name)}
    chosen = choose(maps["trained"][_shown_images(columns)]) if indices is None else list(indices)
    count = min(found.shape[1] for found in maps.values())
    if wrong := [index for index in chosen if not 0 <= index < count]:
        raise UserError(f"--indices {wrong[0]}: term {name} has {count} maps, 0 to {count - 1}")
    return _draw(columns, maps, chosen, name)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    style.save(figure, path, dpi=110)


def varying_term(method: Method, term: str | None = None) -> str:
    """The term to show. Raises UserError where all maps are the same for every image, or no such term is there."""
    varying = [path.name for path in method.online.paths if not path.fixed]
    if not varying:
        raise UserError("this method pools with fixed maps and has none to show; give a run of LEWEL_M or LEWEL_B")
    if term is not None and term not in varying:
        raise UserError(f"--term {term}: terms whose maps vary are {', '.join(varying)}")
    return term or varying[0]


@torch.no_grad()
def alignment(method: Method, pixels: Float[Tensor, "b 3 height width"], term: str) -> Float[Tensor, "b m h w"]:
    """The online network's maps of one term, on the CPU; eval mode, nothing changes."""
    weight = next(method.online.parameters())
    devices = [weight.device] if weight.device.type == "cuda" else []
    with evaluating(method), torch.random.fork_rng(devices):
        torch.manual_seed(0)  # random maps draw noise
        out = method.online(pixels.to(weight.device, weight.dtype))
    return out.maps[term].unflatten(2, out.features.size).float().cpu()


def choose(maps: Float[Tensor, "b m h w"], count: int = MAPS) -> list[int]:
    """The maps that follow the images most, no two alike.

    Ranked by the variance over images, mean over positions: what a map has in every image alike, as a border, does not
    count. From the top, a map whose differences between images correlate above `ALIKE` with those of a chosen one is
    passed over.
    """
    changes = maps - maps.mean(dim=0)
    order = changes.square().mean(dim=(0, 2, 3)).argsort(descending=True).tolist()
    unit = functional.normalize(changes.transpose(0, 1).flatten(1), dim=1)
    chosen: list[int] = []
    for index in order:
        if len(chosen) < count and all(abs(float(unit[index] @ unit[other])) <= ALIKE for other in chosen):
            chosen.append(index)
    rest = [index for index in order if index not in chosen]
    return chosen + rest[: count - len(chosen)]


def entropy(maps: Float[Tensor, "*m h w"]) -> Float[Tensor, "*m"]:
    """Entropy of each map as a share of log p, the uniform map's."""
    flat = maps.flatten(-2)
    return torch.special.entr(flat).sum(-1) / math.log(flat.shape[-1])


# -- pictures


def _side(size: int | None, image_size: int) -> int:
    if size is None:
        return math.ceil(2 * image_size / 32) * 32
    if size < 32 or size % 32:
        raise UserError(f"--size {size}: must be a multiple of 32")
    return size


def _columns(images: Sequence[Image.Image], data: config.Data, side: int, seed: int) -> list[Column]:
    """The first image, its two views, the other images."""
    if len(images) < LEAST_IMAGES:
        raise UserError(f"{len(images)} images: the figure needs {LEAST_IMAGES} or more, to compare one map over them")
    squares = [_square(image) for image in images]
    drawn = [augment.sample(view, squares[0].size, side, seed, 0, 0, i) for i, view in enumerate(data.views[:2])]
    views = [Column(f"its view {i}", pillow.augmented(squares[0], one)) for i, one in enumerate(drawn, 1)]
    shown = [
        Column(f"image {i}", square.resize((side, side), Image.Resampling.BILINEAR))
        for i, square in enumerate(squares, 1)
    ]
    first = shown[0]._replace(boxes=tuple(one.box() for one in drawn))
    return [first, *views, *shown[1:]]


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    return ImageOps.fit(image.convert("RGB"), (side, side))


def _shown_images(columns: Sequence[Column]) -> list[int]:
    """Places of the images, without the views."""
    return [i for i, column in enumerate(columns) if column.title.startswith("image")]


def stacked(pictures: Sequence[Image.Image], data: config.Data) -> Float[Tensor, "b 3 h w"]:
    """Pictures of one size as the encoder gets them."""
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (data.mean, data.std))
    return (torch.stack([pillow.to_tensor(picture) for picture in pictures]).float() / 255 - mean) / std


# -- drawing, in inches

CELL, GAP, NOTE, LABEL, MARGIN, HEAD = 1.0, 0.05, 0.15, 0.95, 0.2, 0.75


def _draw(columns: Sequence[Column], maps: dict[str, Tensor], indices: Sequence[int], term: str) -> Figure:
    xs = [LABEL + i * (CELL + GAP) + (0.12 if i > 2 else 0) for i in range(len(columns))]
    block = len(maps) * (CELL + NOTE + 0.02) + 0.1
    width = xs[-1] + CELL + MARGIN
    height = HEAD + CELL + 0.15 + len(indices) * block + 0.55
    sheet = style.Sheet(width, height)
    side = columns[0].picture.width
    rows = " x ".join(map(str, maps["trained"].shape[2:]))
    sheet.text(MARGIN, 0.16, "Where it looks", 12, weight="bold")
    about = f"Alignment maps of term {term}, {rows} positions at {side} px. The same map over {len(columns) - 2} images"
    sheet.text(MARGIN, 0.39, f"{about} and two views of one", 8, style.MUTED)
    for x, column in zip(xs, columns, strict=True):
        sheet.text(x + CELL / 2, HEAD - 0.03, column.title, 7, style.MUTED, ha="center", va="bottom")
        axes = sheet.image(x, HEAD, CELL, CELL, np.asarray(column.picture))
        for box, colour in zip(column.boxes, style.SERIES, strict=False):
            style.outline(axes, box, colour, 1.2)
    for i, index in enumerate(indices):
        y = HEAD + CELL + 0.15 + i * block
        sheet.text(MARGIN, y + 0.02, f"map {index}", 8, weight="bold")
        for j, (name, found) in enumerate(maps.items()):
            _row(sheet, y + j * (CELL + NOTE + 0.02), xs, columns, found[:, index], name)
    _foot(sheet, maps)
    return sheet.figure


def _row(sheet: style.Sheet, y: float, xs: Sequence[float], columns: Sequence[Column], maps: Tensor, name: str) -> None:
    """One map, (b, h, w), over the pictures of all columns."""
    sheet.text(MARGIN, y + CELL / 2, name, 8, style.INK if name == "trained" else style.MUTED, va="center")
    for x, column, one, share in zip(xs, columns, maps, entropy(maps).tolist(), strict=True):
        axes = sheet.image(x, y, CELL, CELL, style.overlay(column.picture, stretched(one, column.picture.size)))
        _cells(axes, one.shape[0], one.shape[1])
        sheet.text(x + CELL / 2, y + CELL + 0.02, f"H {100 * share:.3f} %", 6, style.MUTED, ha="center")


def stretched(one: Float[Tensor, "h w"], size: tuple[int, int]) -> np.ndarray:
    """The map from its minimum, 0, to its maximum, 1, bilinear at size = (width, height); a uniform map is 0."""
    span = (one.max() - one.min()).clamp_min(1e-12)
    scaled = ((one - one.min()) / span)[None, None]
    return functional.interpolate(scaled, size[::-1], mode="bilinear", align_corners=False)[0, 0].clamp(0, 1).numpy()


def _cells(axes: Axes, rows: int, columns: int) -> None:
    """The borders of the feature map's cells, where there are few of them."""
    if max(rows, columns) > GRID_LINES:
        return
    for vertical, count in ((True, columns), (False, rows)):
        draw = axes.axvline if vertical else axes.axhline
        (low, high) = sorted(axes.get_xlim() if vertical else axes.get_ylim())
        for i in range(1, count):
            draw(low + (high - low) * i / count, color="white", alpha=0.25, linewidth=0.5)


def _foot(sheet: style.Sheet, maps: dict[str, Tensor]) -> None:
    means = " and ".join(f"{100 * float(entropy(found).mean()):.3f} % {name}" for name, found in maps.items())
    text = (
        "Each map is stretched from its own minimum (dark) to its own maximum (bright). "
        "H is its entropy as a share of the uniform map's.\n"
        f"Mean H of all {maps['trained'].shape[1]} maps over these pictures: {means}."
    )
    sheet.text(MARGIN, sheet.height - 0.47, text, 7, style.MUTED, linespacing=1.5)
