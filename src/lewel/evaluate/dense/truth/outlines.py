"""Masks of objects as COCO writes them: polygons, or run lengths; pycocotools draws them."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from lewel.errors import UserError

LEAST = 6  # numbers of a polygon: three points

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


def as_bytes(outline: Outline) -> bytes:
    """The same for the same outline, and for no other."""
    if isinstance(outline, dict):
        return repr((outline["size"], outline["counts"])).encode()
    return b"".join(repr(len(polygon)).encode() + polygon.astype("<f8").tobytes() for polygon in outline)


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
    and for what is neither.
    """
    if isinstance(segmentation, dict):
        size, counts = list(segmentation["size"]), segmentation["counts"]
        if size != [height, width] or (isinstance(counts, list) and sum(counts) != height * width):
            raise ValueError(f"a mask of {size[1]} x {size[0]} in an image of {width} x {height}")
        return {"size": size, "counts": counts}, 0
    if not isinstance(segmentation, list):
        raise ValueError(f"a segmentation that is a {type(segmentation).__name__}; polygons or run lengths are needed")
    usable = [polygon for polygon in segmentation if len(polygon) >= LEAST and len(polygon) % 2 == 0]
    polygons = tuple(np.array(polygon, np.float64) for polygon in usable)
    return polygons or None, len(segmentation) - len(usable)
