"""Masks of objects as COCO writes them: polygons, or run lengths; pycocotools draws them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from lewel.errors import UserError

LEAST = 6  # numbers of a polygon: three points
_NUMBERS, _TEXT = -1, -2  # forms of run lengths; a number of polygons is not negative

Polygons = tuple[Float64[np.ndarray, "_"], ...]  # x y x y ...; the object is all of them together
Outline = Polygons | dict[str, Any]  # or run lengths: {"size": [h, w], "counts": text or numbers}


def rasterised(outlines: Sequence[Outline], height: int, width: int) -> Bool[np.ndarray, "k h w"]:
    """The masks. Raises UserError where pycocotools is missing."""
    found = np.zeros((len(outlines), height, width), bool)
    for place, outline in enumerate(outlines):
        found[place] = _mask(outline, height, width)
    return found


def _mask(outline: Outline, height: int, width: int) -> np.ndarray:
    tool: Any = coco_masks()
    if isinstance(outline, dict):
        runs = tool.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline
    else:
        runs = tool.merge(tool.frPyObjects([polygon.tolist() for polygon in outline], height, width))
    return tool.decode(runs)


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


def read(segmentation: Any, height: int, width: int) -> tuple[Outline | None, int]:
    """What an annotation's `segmentation` holds, and how many of its polygons have fewer than three points.

    The outline is None where nothing can be drawn. Raises ValueError for run lengths of another size than the image,
    those that are neither text nor whole numbers, and for what is neither polygons nor run lengths.
    """
    if isinstance(segmentation, dict):
        size, counts = list(segmentation["size"]), segmentation["counts"]
        if not isinstance(counts, str) and not _are_lengths(counts):
            raise ValueError("run lengths that are neither text nor whole numbers")
        if size != [height, width] or (isinstance(counts, list) and sum(counts) != height * width):
            raise ValueError(f"a mask of {size[1]} x {size[0]} in an image of {width} x {height}")
        return {"size": size, "counts": counts}, 0
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation that is a {type(segmentation).__name__}; polygons or run lengths are needed")
    usable = [polygon for polygon in segmentation if len(polygon) >= LEAST and len(polygon) % 2 == 0]
    polygons = tuple(np.array(polygon, np.float64) for polygon in usable)
    return polygons or None, len(segmentation) - len(usable)


def _are_lengths(counts: Any) -> bool:
    return isinstance(counts, list) and all(isinstance(each, int) and each >= 0 for each in counts)
