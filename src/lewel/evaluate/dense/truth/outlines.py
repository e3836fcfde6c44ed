"""Masks of objects as COCO writes them: polygons, or run lengths; pycocotools draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from lewel.errors import UserError
from lewel.evaluate.dense.truth import run_lengths
from lewel.evaluate.dense.truth.json_fields import shown

LEAST = 6  # numbers of a polygon: three points
REACH = 10  # longer sides of the image that a polygon's points may be away: drawing takes memory with its length
_FARTHEST = 1e9  # pixels
_NUMBERS, _TEXT = -1, -2  # forms of run lengths; a number of polygons is not negative

Polygons = tuple[Float64[np.ndarray, "_"], ...]  # x y x y ...; the object is all of them together
Outline = Polygons | dict[str, Any]  # or run lengths: {"size": [h, w], "counts": text or numbers}


def rasterised(outlines: Sequence[Outline], height: int, width: int) -> Bool[np.ndarray, "k h w"]:
    """The masks. Raises UserError where pycocotools is missing."""
    found = np.zeros((len(outlines), height, width), bool)
    for place, outline in enumerate(outlines):
        found[place] = _mask(outline, height, width)
    return found


def area(outline: Outline, height: int, width: int) -> float:
    """Pixels of the mask. Raises UserError where pycocotools is missing."""
    return float(coco_masks().area(_runs_of(outline, height, width)))


def _mask(outline: Outline, height: int, width: int) -> np.ndarray:
    return coco_masks().decode(_runs_of(outline, height, width))


def _runs_of(outline: Outline, height: int, width: int) -> dict[str, Any]:
    """As pycocotools has them."""
    tool: Any = coco_masks()
    if isinstance(outline, dict):
        return tool.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline
    return tool.merge(tool.frPyObjects([polygon.tolist() for polygon in outline], height, width))


def as_words(outline: Outline) -> Int64[np.ndarray, " w"]:
    """The outline as whole numbers, to be kept end to end with a million others.

    The number of polygons, their lengths and, bit for bit, their coordinates; of run lengths, which form they have, the
    size, and the lengths.
    """
    if not isinstance(outline, dict):
        lengths = [len(polygon) for polygon in outline]
        head = np.array([len(lengths), *lengths], np.int64)
        return np.concatenate([head, *(polygon.view(np.int64) for polygon in outline)])
    counts = outline["counts"]
    if isinstance(counts, list):
        return np.array([_NUMBERS, *outline["size"], *counts], np.int64)
    text = counts.encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return np.concatenate([np.array([_TEXT, *outline["size"], len(text)], np.int64), np.frombuffer(padded, np.int64)])


def from_words(words: Int64[np.ndarray, " w"]) -> Outline:
    """What `as_words` was given."""
    form = int(words[0])
    if form >= 0:
        ends = accumulate(words[1 : 1 + form].tolist(), initial=1 + form)
        numbers = words.view(np.float64)
        return tuple(numbers[begin:end] for begin, end in pairwise(ends))
    size = words[1:3].tolist()
    if form == _NUMBERS:
        return {"size": size, "counts": words[3:].tolist()}
    return {"size": size, "counts": words[4:].tobytes()[: int(words[3])].decode()}


def coco_masks() -> ModuleType:
    """pycocotools.mask. Raises UserError where it is missing."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError("masks need pycocotools: pip install 'lewel[dense]'") from error
    return mask


class Read(NamedTuple):
    """outline: None where nothing can be drawn.  left_out: why parts of it are, in words; "" where none is."""

    outline: Outline | None
    left_out: str = ""


def read(segmentation: Any, height: int, width: int) -> Read:
    """What an annotation's `segmentation` holds.

    Polygons that cannot be drawn are left out, and so are run lengths that are 0 everywhere.
    Raises ValueError for run lengths that are damaged or of another size than the image, and for what is neither
    polygons nor run lengths.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation that is a {type(segmentation).__name__}; polygons or run lengths are needed")
    kept, faults = list[Float64[np.ndarray, "_"]](), Counter[str]()
    for polygon in segmentation:
        if why := _fault(polygon, height, width):
            faults[why] += 1
        else:
            kept.append(np.array(polygon, np.float64))
    if not segmentation:
        return Read(None, "no mask; object left out")
    rest = "the others are kept" if kept else "no other, object left out"
    told = ", ".join(f"{count} polygons {why}" for why, count in faults.items())
    return Read(tuple(kept) or None, f"{told}; {rest}" if faults else "")


def _runs(segmentation: dict[str, Any], height: int, width: int) -> Read:
    counts = segmentation.get("counts")
    if isinstance(counts, bytes):  # pycocotools' own form, which JSON has not
        counts = counts.decode("latin-1")
    lengths, size = run_lengths.lengths(counts), run_lengths.size(segmentation.get("size"))
    run_lengths.check(lengths, size, height, width)
    if not lengths[1::2].any():
        return Read(None, "its mask is empty; object left out")
    return Read({"size": [height, width], "counts": counts})


def _fault(polygon: Any, height: int, width: int) -> str | None:
    """Why a polygon cannot be drawn; None where it can. Raises ValueError for what is no list of numbers."""
    if not isinstance(polygon, list):
        raise ValueError(f"a polygon that is {shown(polygon)}; each is a list of numbers, x y x y ...")
    if not set(map(type, polygon)) <= {int, float}:
        wrong = next(each for each in polygon if type(each) not in (int, float))
        raise ValueError(f"a polygon with {shown(wrong)}, which is no number")
    if len(polygon) < LEAST or len(polygon) % 2:
        return "of fewer than three points" if len(polygon) < LEAST else "with an odd number of coordinates"
    if not all(-_FARTHEST < each < _FARTHEST for each in polygon):
        return "with a coordinate that is not a number, or far too large"
    if min(polygon) >= 0 and max(polygon) <= min(width, height):
        return None
    if any(max(polygon[axis::2]) <= 0 or min(polygon[axis::2]) >= side for axis, side in ((0, width), (1, height))):
        return "outside the image"
    reach = REACH * max(width, height)
    return "far outside the image" if min(polygon) < -reach or max(polygon) > reach else None
