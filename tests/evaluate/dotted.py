"""Faces of four dots, and their points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lewel.evaluate.dense.truth import pts

SIDE, K = 90, 4
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)


def faces(root: Path, n: int, folder: str = "test/a", seed: int = 0) -> None:
    """Four dots in four colours on grey."""
    rng = np.random.default_rng(seed)
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(n):
        pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
        centres = np.array([[25, 25], [65, 25], [25, 65], [65, 65]]) + rng.integers(-12, 13, (K, 2))
        for (x, y), colour in zip(centres, COLOURS, strict=True):
            pixels[y - 4 : y + 5, x - 4 : x + 5] = colour
        Image.fromarray(pixels).save(root / folder / f"{number}.png")
        (root / folder / f"{number}.pts").write_text(pts.text(centres + 0.5))
