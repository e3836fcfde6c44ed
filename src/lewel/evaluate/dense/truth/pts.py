"""The .pts files of 300W: the points of one face.

    version: 1
    n_points: 68
    {
    44.712 75.622        x and y of a point; the centre of the image's first pixel is 1 1
    ...
    }

Points here are half less than the file says: their image's first pixel is from 0 0 to 1 1, its centre 0.5 0.5, as for
boxes. Points that files write as -1 -1, 0 0 or nan nan are those that nobody could see.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lewel.data import text_files
from lewel.errors import UserError
from lewel.evaluate.dense.truth import small_files
from lewel.terminal import printable

SUFFIX = ".pts"
FIRST = 0.5  # what the file's coordinates are ahead of ours


def read(file: Path) -> Float64[np.ndarray, "k 2"]:
    """The points in the file's order, those that are hidden as NaN. Raises UserError for what is no such file."""
    content = text_files.decoded(small_files.content(file), f"--data: {printable(file)}").content
    try:
        points = _points(content)
    except ValueError as error:
        raise UserError(f"--data: {printable(file)}: {error}") from None
    hidden = np.isnan(points).any(axis=1) | (points == -1).all(axis=1) | (points == 0).all(axis=1)
    points[hidden] = np.nan
    return points - FIRST


def _points(content: str) -> Float64[np.ndarray, "k 2"]:
    head, opened, rest = content.partition("{")
    body, closed, _ = rest.partition("}")
    if not opened or not closed:
        raise ValueError("no { ... } with the points")
    rows = [line.split() for line in text_files.lines(body) if line.strip()]
    points = np.array([_point(row) for row in rows], np.float64).reshape(-1, 2)
    said = dict(line.split(":", 1) for line in text_files.lines(head) if ":" in line).get("n_points", "").strip()
    if said and said != str(len(points)):
        raise ValueError(f"n_points says {printable(said[:20])}, there are {len(points)}")
    return points


def _point(row: list[str]) -> tuple[float, float]:
    try:
        x, y = map(float, row)
    except ValueError:
        raise ValueError(f"'{printable(' '.join(row)[:40])}' is no x and y") from None
    return x, y


def text(points: Float64[np.ndarray, "k 2"]) -> str:
    """What such a file has to say for these points."""
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in (points + FIRST).tolist())
    return f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n"
