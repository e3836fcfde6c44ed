"""Painting one scene: which objects, where, what hides what, and the pixels. Touches no file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lewel.data.scene_objects import KINDS, Plane, dots, stripes

LEAST_SHOWN = 0.3  # an object of which less is left is not put into the scene
LEAST_AREA = 0.004  # nor one that shows in a smaller share of the image
TILT = 0.7  # radians, largest
LEAD = 1.3  # the main object shows at least so many times the area of any other


class Object(NamedTuple):
    """An object of a finished scene. shown: share of it that is neither hidden nor outside the image."""

    kind: int
    shown: float
    truncated: bool  # reaches over the border of the image


class Scene(NamedTuple):
    """A picture and what is in it."""

    pixels: NDArray[np.uint8]  # size x size x 3
    instances: NDArray[np.uint8]  # size x size: 0 background, k the k-th of `objects`
    mixed: NDArray[np.bool_]  # size x size: outline pixels, part object, part what lies behind
    objects: tuple[Object, ...]  # from the back to the front


class Placed(NamedTuple):
    """An object's coordinates on its window of the canvas, which `rows` and `columns` cut out."""

    kind: int
    rows: slice
    columns: slice
    u: Plane
    v: Plane
    inside: Plane  # distance to the outline, in units of the object
    alpha: Plane  # coverage, [0, 1]
    area: float  # pixels of the whole object, hidden and outside parts too
    truncated: bool


def paint(rng: np.random.Generator, kind: int, size: int) -> Scene:
    """A scene of size x size pixels whose object with the largest visible area is of the class `kind`."""
    objects = arrange(rng, kind, size)
    instances, mixed, areas = visibility(objects, size)
    canvas = background(rng, size)
    for placed in objects:
        draw(canvas, placed, rng)
    described = (
        Object(placed.kind, float(area / placed.area), placed.truncated)
        for placed, area in zip(objects, areas, strict=True)
    )
    return Scene(develop(canvas, rng), instances, mixed, tuple(described))


def arrange(rng: np.random.Generator, kind: int, size: int) -> list[Placed]:
    """Objects from the back to the front; drawn again until the main one shows the most, by `LEAD`."""
    while True:
        others = rng.integers(len(KINDS), size=rng.integers(0, 4)).tolist()
        objects = [place(rng, kind, size, main=True)] + [place(rng, other, size, main=False) for other in others]
        main = objects[0]
        objects = [objects[i] for i in rng.permutation(len(objects))]
        _, _, areas = visibility(objects, size)
        objects = [
            placed
            for placed, area in zip(objects, areas, strict=True)
            if area >= LEAST_SHOWN * placed.area and area >= LEAST_AREA * size**2
        ]
        _, _, areas = visibility(objects, size)
        at = next((i for i, placed in enumerate(objects) if placed is main), None)
        if at is not None and all(areas[at] >= LEAD * area for i, area in enumerate(areas) if i != at):
            return objects


def place(rng: np.random.Generator, kind: int, size: int, main: bool) -> Placed:
    """An object somewhere, tilted, stretched, perhaps mirrored; the main one is larger and more central."""
    radius = size * (rng.uniform(0.36, 0.52) if main else rng.uniform(0.13, 0.24))
    margin = 0.38 if main else 0.05
    x, y = rng.uniform(margin * size, (1 - margin) * size, 2)
    angle, stretch = rng.uniform(-TILT, TILT), rng.uniform(0.85, 1.18)
    mirror = 1 if rng.random() < 0.5 else -1

    reach = int(np.ceil(radius * 1.2)) + 1
    left, top = int(x) - reach, int(y) - reach
    window = np.arange(2 * reach + 1, dtype=np.float32) + np.float32(0.5)
    across = (window + np.float32(left - x))[None, :] / np.float32(radius)
    down = (window + np.float32(top - y))[:, None] / np.float32(radius)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (cos * across + sin * down) * np.float32(mirror / stretch)
    v = (cos * down - sin * across) * np.float32(stretch)
    inside = KINDS[kind].shape(u, v)
    alpha = np.clip(0.5 + inside * np.float32(radius), 0, 1)
    area = float((alpha >= 0.5).sum())

    rows, columns = slice(max(top, 0), min(top + len(window), size)), slice(max(left, 0), min(left + len(window), size))
    cut = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    truncated = float((alpha[cut] >= 0.5).sum()) < area
    return Placed(kind, rows, columns, u[cut], v[cut], inside[cut], alpha[cut], area, truncated)


def visibility(objects: list[Placed], size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.intp]]:
    """What each pixel shows, which pixels are mixed, and the visible pixels of each object."""
    instances = np.zeros((size, size), np.uint8)
    mixed = np.zeros((size, size), bool)
    for number, placed in enumerate(objects, 1):
        window = placed.rows, placed.columns
        instances[window][placed.alpha >= 0.5] = number
        touched = placed.alpha > 0.05
        mixed[window][touched] = placed.alpha[touched] < 0.95
    return instances, mixed, np.bincount(instances.ravel(), minlength=len(objects) + 1)[1:]


def color(rng: np.random.Generator, luminance: float) -> Plane:
    """Any hue at about the given luminance."""
    hue, chroma = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.2)
    turn = np.array([0, 2 * np.pi / 3, -2 * np.pi / 3])
    return np.clip(luminance + chroma * np.cos(hue - turn), 0, 1).astype(np.float32)


def color_pair(rng: np.random.Generator, contrast: float, margin: float = 0.1) -> tuple[Plane, Plane]:
    """Two colours whose luminances are `contrast` apart, in either order, and `margin` from black and white."""
    dark = rng.uniform(margin, 1 - margin - contrast)
    low, high = color(rng, dark), color(rng, dark + contrast)
    return (low, high) if rng.random() < 0.5 else (high, low)


def draw(canvas: Plane, placed: Placed, rng: np.random.Generator) -> None:
    """Blend an object into the canvas: its shadow, then its texture in two colours, lit from one side."""
    first, second = color_pair(rng, rng.uniform(0.3, 0.6))
    share = KINDS[placed.kind].texture(placed.u, placed.v, rng.uniform(0.8, 1.25))
    surface = first + share[..., None] * (second - first)
    side = rng.uniform(0, 2 * np.pi)
    light = placed.u * np.float32(np.cos(side)) + placed.v * np.float32(np.sin(side))
    shade = (1 + 0.22 * light) * np.clip(0.7 + 2.5 * placed.inside, 0.7, 1)

    view = canvas[placed.rows, placed.columns]
    height, width = placed.alpha.shape
    shift = int(rng.integers(1, 4)) * len(canvas) // 96
    if 0 < shift < min(height, width):
        view[shift:, shift:] *= 1 - 0.45 * placed.alpha[:-shift, :-shift, None]
    view += placed.alpha[..., None] * (surface * shade[..., None] - view)


def noise(rng: np.random.Generator, cells: int, size: int) -> Plane:
    """Smooth random field with about `cells` bumps a side, mostly in [-1, 1]."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def pattern(rng: np.random.Generator, size: int, warp: Plane) -> Plane:
    """A texture for the background, in [0, 1]: bands, checks, spots or clouds, of any scale and direction."""
    steps = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    angle, cells = rng.uniform(0, np.pi), rng.uniform(3, 12)
    cos, sin = np.float32(cells * np.cos(angle)), np.float32(cells * np.sin(angle))
    bend = warp * np.float32(rng.uniform(0, 0.5))
    x = cos * steps[None, :] + sin * steps[:, None] + bend
    y = cos * steps[:, None] - sin * steps[None, :] + bend
    match int(rng.integers(4)):
        case 0:
            return stripes(x, rng.uniform(1, 4))
        case 1:
            return np.clip(0.5 + 2 * np.sin(np.float32(np.pi) * x) * np.sin(np.float32(np.pi) * y), 0, 1)
        case 2:
            return dots(x, y, rng.uniform(0.2, 0.4))
        case _:
            return 0.5 + 0.5 * noise(rng, int(cells * 2), size)


def background(rng: np.random.Generator, size: int) -> Plane:
    """Two textured surfaces that meet at an edge, uneven light, and bits and pieces lying about."""
    warp = noise(rng, 4, size)
    surfaces = []
    for _ in range(2):
        first, second = color_pair(rng, rng.uniform(0.03, 0.15), margin=0.25)
        surfaces.append(first + pattern(rng, size, warp)[..., None] * (second - first))
    steps = np.linspace(-1, 1, size, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    edge = np.float32(np.cos(angle)) * steps[None, :] + np.float32(np.sin(angle)) * steps[:, None]
    side = np.clip(0.5 + size / 2 * (edge + 0.15 * warp - np.float32(rng.uniform(-0.7, 0.7))), 0, 1)
    canvas = surfaces[0] + side[..., None] * (surfaces[1] - surfaces[0])
    canvas *= (1 + 0.2 * noise(rng, 3, size))[..., None]
    return strew(canvas, rng, size)


def strew(canvas: Plane, rng: np.random.Generator, size: int) -> Plane:
    """Small ellipses, lines and splinters over the background, drawn at twice the size for smooth edges."""
    picture = Image.fromarray(to_bytes(canvas)).resize((2 * size, 2 * size), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 12))):
        x, y = rng.uniform(0, 2 * size, 2)
        reach = 2 * size * rng.uniform(0.02, 0.09)
        red, green, blue = (255 * color(rng, rng.uniform(0.15, 0.85))).astype(int).tolist()
        corners = (np.array([x, y]) + rng.uniform(-reach, reach, (4, 2))).ravel().tolist()
        match int(rng.integers(3)):
            case 0:
                pen.ellipse((x - reach, y - reach * rng.uniform(0.4, 1), x + reach, y + reach), fill=(red, green, blue))
            case 1:
                pen.line(
                    (x, y, *(np.array([x, y]) + rng.uniform(-3, 3, 2) * reach)), (red, green, blue), int(reach / 4) + 1
                )
            case _:
                pen.polygon(corners, fill=(red, green, blue))
    return np.asarray(picture.reduce(2), dtype=np.float32) / 255


def to_bytes(canvas: Plane) -> NDArray[np.uint8]:
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def develop(canvas: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The camera: exposure, white balance and grain."""
    balance = rng.uniform(0.85, 1.15) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    grain = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.035))
    return to_bytes(canvas * balance.astype(np.float32) + grain)
