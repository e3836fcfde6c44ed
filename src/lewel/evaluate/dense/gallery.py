"""Pictures to look at: of some images the truth beside the prediction, the worst first.

DIRECTORY/gallery/000.jpg, ...     truth on the left, prediction on the right, below the name and the score
DIRECTORY/gallery/gallery.json     [{"file": "000.jpg", "name": ..., "score": ...}, ...], written last
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from lewel.engine import files
from lewel.evaluate.dense.drawing import INK, WHITE, Legend, font
from lewel.terminal import printable
from lewel.visualize.text import shortened

FOLDER, INDEX = "gallery", "gallery.json"
GAP, LINE = 6, 18  # pixels: between the two pictures, of a line of text
QUALITY = 85
WORST = 24  # cases that are kept
MUTED = (102, 112, 133)


class Case(NamedTuple):
    """One image. score: in words, such as "mIoU 12.3".  legend: colours to be explained."""

    name: str
    score: str
    truth: Image.Image
    prediction: Image.Image
    legend: Legend = ()


class Shown(NamedTuple):
    """A case that was written."""

    file: Path
    name: str
    score: str


def write(directory: Path, cases: Sequence[Case]) -> list[Path]:
    """The pictures and their index, in the order of the cases. Returns what was written."""
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, case in enumerate(cases):
        packed = io.BytesIO()
        sheet(case).save(packed, "JPEG", quality=QUALITY, subsampling=0)  # thin lines in colour stay sharp
        files.replace(folder / f"{number:03}.jpg", packed.getvalue())
        rows.append({"file": f"{number:03}.jpg", "name": printable(case.name), "score": case.score})
    files.replace(folder / INDEX, json.dumps(rows, indent=1).encode())
    return [*(folder / row["file"] for row in rows), folder / INDEX]


def read(directory: Path) -> list[Shown]:
    """What `write` left there, in its order; nothing where there is none."""
    folder = directory / FOLDER
    try:
        rows = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        return []
    return [Shown(folder / row["file"], row["name"], row["score"]) for row in rows if (folder / row["file"]).is_file()]


def sheet(case: Case) -> Image.Image:
    """Both pictures and the text below them."""
    (left, height), (right, other) = case.truth.size, case.prediction.size
    width, top = left + GAP + right, max(height, other)
    lines = _lines(case.legend, width)
    found = Image.new("RGB", (width, top + LINE * (2 + len(lines)) + 4), WHITE)
    found.paste(case.truth, (0, 0))
    found.paste(case.prediction, (left + GAP, 0))
    draw = ImageDraw.Draw(found)
    draw.text((2, top + 2), "truth", MUTED, font(12))
    draw.text((left + GAP + 2, top + 2), "prediction", MUTED, font(12))
    for number, line in enumerate(lines, 1):
        for x, name, colour in line:
            y = top + LINE * number + 2
            draw.rectangle((x, y + 2, x + 12, y + 13), colour, MUTED)
            draw.text((x + 17, y), name, INK, font(12))
    score = shortened(printable(case.score), 60)
    most = width - 20 - draw.textlength(score, font(13))
    name = printable(case.name)
    while len(name) > 4 and draw.textlength(name, font(13)) > most:
        name = shortened(name, len(name) - 1)
    y = top + LINE * (1 + len(lines)) + 3
    draw.text((2, y), name, INK, font(13))
    draw.text((width - 2, y), score, INK, font(13), anchor="ra")
    return found


def _lines(legend: Legend, width: int) -> list[list[tuple[float, str, tuple[int, int, int]]]]:
    """From the left: where each entry stands, its name and colour; as many lines as it needs."""
    lines: list[list[tuple[float, str, tuple[int, int, int]]]] = []
    x = float(width)
    for name, colour in legend:
        needed = 17 + font(12).getlength(name) + 14
        if x + needed > width:
            lines.append([])
            x = 2.0
        lines[-1].append((x, name, colour))
        x += needed
    return lines
