"""Truth or predictions drawn over an image: boxes, masks, classes of pixels, points of a face.

Pictures have a longer side of `SIDE` pixels, whatever the image had. Colours of objects are those of Okabe and Ito,
which colour-blind eyes tell apart; there are fewer than classes, so that names stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from PIL.Image import Resampling

from lewel.evaluate.dense.truth.masks import IGNORED
from lewel.terminal import printable
from lewel.visualize.text import shortened

Colour = tuple[int, int, int]
Legend = tuple[tuple[str, Colour], ...]  # names and colours

SIDE = 420
OBJECTS: tuple[Colour, ...] = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178)),
)
TRUTH, PREDICTION = OBJECTS[2], OBJECTS[4]  # of points: a green and a red that are not alike to colour-blind eyes
WHITE, INK = (255, 255, 255), (29, 36, 48)
FILL = 0.45  # of a mask's colour over its object
TAGS = 15  # names in a picture, of the largest boxes: more would hide it
LONGEST = 22  # characters of a name
SURE = 0.5  # boxes below this score are thin


def fitted(image: Image.Image) -> Image.Image:
    """The longer side is `SIDE`."""
    scale = SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.convert("RGB").resize((width, height), Resampling.LANCZOS if scale < 1 else Resampling.BICUBIC)


def objects(
    image: Image.Image,
    boxes: Float[np.ndarray, "k 4"],
    labels: Int[np.ndarray, " k"],
    classes: Sequence[str],
    scores: Float[np.ndarray, " k"] | None = None,
    masks: Bool[np.ndarray, "k h w"] | None = None,
) -> Image.Image:
    """Boxes x0 y0 x1 y1 in the image's pixels, with names, and scores where there are any."""
    picture = fitted(image)
    largest_first = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable").tolist()
    for place in largest_first if masks is not None else ():
        assert masks is not None
        picture = _filled(picture, masks[place], colour_of(int(labels[place])))
    draw = ImageDraw.Draw(picture)
    scaled = boxes * np.tile(np.array(picture.size) / image.size, 2)
    for place in largest_first:
        sure = scores is None or scores[place] >= SURE
        _box(draw, scaled[place].tolist(), colour_of(int(labels[place])), 2 if sure else 1)
    taken: list[tuple[float, ...]] = []
    for place in largest_first[:TAGS]:
        label = int(labels[place])
        text = name_of(classes[label]) + ("" if scores is None else f" {scores[place]:.2f}")
        _tag(draw, picture.size, scaled[place].tolist(), text, colour_of(label), taken)
    return picture


def pixels(
    image: Image.Image, values: UInt8[np.ndarray, "h w"], fill: float = 0.65, ignored: int = IGNORED
) -> Image.Image:
    """Classes of pixels in VOC's colours over the image, which is paler there; what is not counted is white."""
    picture = fitted(image)
    found = np.asarray(Image.fromarray(values).resize(picture.size, Resampling.NEAREST))
    colours = np.array([palette(value) for value in range(256)], np.float32)
    colours[ignored] = WHITE
    share = np.where(found == 0, 0, np.where(found == ignored, 1, fill)).astype(np.float32)[..., None]
    mixed = (1 - share) * np.asarray(picture, np.float32) + share * colours[found]
    return Image.fromarray(mixed.round().astype(np.uint8))


def legend(classes: Sequence[str], truth: UInt8[np.ndarray, "h w"], found: UInt8[np.ndarray, "h w"]) -> Legend:
    """Of the classes that either has, but the background."""
    shown = [int(value) for value in np.union1d(truth, found)]
    return tuple((name_of(classes[value]), palette(value)) for value in shown if 0 < value < len(classes))


def points(
    image: Image.Image, truth: Float[np.ndarray, "n 2"], found: Float[np.ndarray, "n 2"] | None = None
) -> Image.Image:
    """Points x y in the image's pixels: truth as green dots; what was found as red squares, each tied to its truth.

    Those whose truth is NaN are hidden, and not drawn.
    """
    seen = ~np.isnan(truth).any(axis=1)
    truth, found = truth[seen], None if found is None else found[seen]
    picture = fitted(image)
    scale = np.array(picture.size) / image.size
    draw = ImageDraw.Draw(picture)
    right = (truth * scale).tolist()
    guessed = [] if found is None else (found * scale).tolist()
    for start, end in zip(guessed, right, strict=False):
        draw.line((*start, *end), WHITE, 2)
    for x, y in right:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), TRUTH, WHITE)
    for x, y in guessed:
        draw.rectangle((x - 3, y - 3, x + 3, y + 3), PREDICTION, WHITE)
    return picture


POINTS: Legend = (("truth", TRUTH), ("prediction", PREDICTION))


def colour_of(label: int) -> Colour:
    """Of the objects of a class, the same in every picture."""
    return OBJECTS[label % len(OBJECTS)]


def palette(value: int) -> Colour:
    """VOC's colour of a class: its bits, lowest first, become the highest of red, green and blue in turn."""
    colour = [0, 0, 0]
    for bit in range(8):
        colour[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return colour[0], colour[1], colour[2]


def name_of(text: str) -> str:
    """As much of a name as there is room for."""
    return shortened(printable(text), LONGEST)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def _filled(picture: Image.Image, mask: Bool[np.ndarray, "h w"], colour: Colour) -> Image.Image:
    """The mask, half transparent, with an outline."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Resampling.NEAREST)
    outline = ImageChops.subtract(inside, inside.filter(ImageFilter.MinFilter(3)))
    plain = Image.new("RGB", picture.size, colour)
    shown = Image.composite(Image.blend(picture, plain, FILL), picture, inside)
    return Image.composite(plain, shown, outline)


def _box(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: Colour, width: int) -> None:
    """On a white edge, so that it shows on any picture."""
    x0, y0, x1, y1 = (round(side) for side in box)
    edges = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
    draw.rectangle(edges, outline=WHITE, width=width + 1)
    draw.rectangle(edges, outline=colour, width=width)


def _tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Sequence[float],
    text: str,
    colour: Colour,
    taken: list[tuple[float, ...]],
) -> None:
    """The text above the box's corner, or where there is room next to it. taken: by other tags; this one is added."""
    width, height = draw.textlength(text, font(11)) + 6, 15
    left = min(max(box[0], 0), max(size[0] - width, 0))
    places = [box[1] - height, box[1] + 2, *(box[1] + 2 + row * height for row in range(1, 12))]
    rows = [top for top in places if 0 <= top <= size[1] - height] or [max(0, size[1] - height)]
    free = [top for top in rows if not any(_meet((left, top, left + width, top + height), other) for other in taken)]
    top = (free or rows)[0]
    taken.append((left, top, left + width, top + height))
    draw.rectangle((left, top, left + width, top + height - 1), colour)
    draw.text((left + 3, top + 1), text, INK if _light(colour) else WHITE, font(11))


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _light(colour: Colour) -> bool:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
