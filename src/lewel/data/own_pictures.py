"""Pictures that lewel wrote: they carry a mark, and are no images to train on where they lie among such."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from lewel.data.names import to_os

MARK = {"Software": "lewel"}  # of a PNG's text
# Under which pictures are written where --out does not say else. Only these, and those in the folder itself, are looked
# into: a million PNG files must not be opened to find one.
NAMES = frozenset({"views.png", "maps.png", "curves.png", "confusion.png", "where.png"})
MOST_IN_TOP = 1000
SIGNS = frozenset({".lock", "config.yaml", "table.json"})  # of a run directory and of an evaluation's
_HEAD = 4096  # bytes before which the mark stands
_TEXT = b"tEXtSoftware\0lewel"


def is_own_folder(signs: Collection[str]) -> bool:
    """Whether files of these names, of `SIGNS`, say that a run or an evaluation was written here."""
    return ".lock" in signs and len(signs) > 1


def among(top: Path, names: Sequence[str], is_top: bool) -> set[str]:
    """Those of the files in one folder that carry the mark. is_top: whether it is the folder that --data names."""
    pngs = [name for name in names if name.lower().endswith(".png")]
    if not (is_top and len(pngs) <= MOST_IN_TOP):
        pngs = [name for name in pngs if name.rpartition("/")[2] in NAMES]
    return {name for name in pngs if is_marked(os.path.join(top, to_os(name)))}


def is_marked(path: str) -> bool:
    """Whether the file is a picture that lewel wrote."""
    try:
        if not os.path.isfile(path):  # a pipe would not end
            return False
        with open(path, "rb") as file:
            return _TEXT in file.read(_HEAD)
    except OSError:
        return False
