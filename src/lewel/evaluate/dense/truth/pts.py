"""The .pts files of 300W: the points of one face.

    version: 1
    n_points: 68
    {
    44.712 75.622        x and y of a point; the centre of the image's first pixel is 1 1
    ...
    }

Points here are half less than the file says: their image's first pixel is from 0 0 to 1 1, its centre 0.5 0.5, as for
boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

SUFFIX = ".pts"
FIRST = 0.5  # what the file's coordinates are ahead of ours


def read(file: Path) -> Float64[np.ndarray, "k 2"]:
    """The points in the file's order. Raises OSError, and ValueError for what is no such file."""
    head, opened, rest = file.read_text(encoding="utf-8", errors="replace").partition("{")
    body, closed, _ = rest.partition("}")
    if not opened or not closed:
        raise ValueError("no { ... } with the points")
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if wrong := [row for row in rows if len(row) != 2]:
        raise ValueError(f"{' '.join(wrong[0])[:40]!r} is no x and y")
    points = np.array([[float(value) for value in row] for row in rows], np.float64).reshape(-1, 2)
    said = dict(line.split(":", 1) for line in head.splitlines() if ":" in line).get("n_points", "").strip()
    if said and said != str(len(points)):
        raise ValueError(f"n_points says {said[:20]}, there are {len(points)}")
    return points - FIRST


def text(points: Float64[np.ndarray, "k 2"]) -> str:
    """What such a file has to say for these points."""
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in (points + FIRST).tolist())
    return f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n"
