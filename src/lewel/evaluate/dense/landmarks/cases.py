"""The faces with the largest errors, to look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lewel.data.decode import DecodeError
from lewel.evaluate.dense import drawing
from lewel.evaluate.dense.gallery import Case
from lewel.evaluate.dense.landmarks.geometry import cut, inverse, moved, square
from lewel.evaluate.dense.truth.points import Landmarked

MARGIN = 1.8  # of the square that is shown, as a multiple of the points' box


def cases(val: Landmarked, arrays: Mapping[str, np.ndarray], worst: int) -> list[Case]:
    """So many of the faces, the worst first, of equal ones the first; fewer where no more can be read.

    arrays: of `measure`.
    """
    errors, found = arrays["errors"], list[Case]()
    for row in np.argsort(np.where(np.isfinite(errors), -errors, -np.inf), kind="stable").tolist():
        if len(found) == worst:
            break
        try:
            found.append(_case(val, int(arrays["images"][row]), arrays["predicted"][row], float(errors[row])))
        except DecodeError:
            continue
    return found


def _case(val: Landmarked, index: int, predicted: np.ndarray, error: float) -> Case:
    image, truth = val.read(index)
    affine = square(truth, MARGIN, drawing.SIDE)
    there, back = cut(image, affine, drawing.SIDE), inverse(affine)
    right = moved(truth, back)
    guessed = moved(predicted, back) if np.isfinite(predicted).all() else None
    pictures = drawing.points(there, right), drawing.points(there, right, guessed)
    return Case(val.names[index], f"NME {100 * error:.2f}", *pictures, drawing.POINTS)
