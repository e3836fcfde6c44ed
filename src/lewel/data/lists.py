"""A list of image files: .txt, a path on each line, or .csv, path or path,label."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from lewel.data.decode import printable
from lewel.data.folder import Files, Split, number
from lewel.data.names import Names
from lewel.errors import UserError

SUFFIXES = (".txt", ".csv")


def open_list(path: Path, split: Split | None) -> Files:
    """The files that the list names, relative to its folder. Raises UserError for a list that makes no sense."""
    if split is not None:
        raise UserError(f"--data {printable(path)}: a list is not divided into train and val; give a folder that is")
    # Names may be any bytes; what is not UTF-8 survives as the system's own escapes, as in every name from the disk.
    text = os.fsdecode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # splitlines() would also split at rare characters
    rows = _csv_rows(path, lines) if path.suffix.lower() == ".csv" else [[line] for line in lines if line.strip()]
    if not rows:
        raise UserError(f"--data {printable(path)}: no images found; the list is empty, expected a path on each line")
    first = os.path.join(path.parent, rows[0][0])
    if not os.path.exists(first):
        raise UserError(
            f"--data {printable(path)}: the first entry, {printable(first)}, is not there; "
            "paths are taken relative to the list's folder"
        )
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise UserError(f"--data {printable(path)}: every row needs a label, or none")
    labels, classes = number([row[1] for row in rows]) if widths == {2} else (None, None)
    return Files(str(path.parent), Names.of(row[0] for row in rows), labels, classes)


def _csv_rows(path: Path, lines: Iterable[str]) -> list[list[str]]:
    """path[,label] rows; a header that begins with "path" is dropped, further columns are refused."""
    try:
        rows = [row[:1] if row[1:] == [""] else row for row in csv.reader(lines, strict=True)]
    except csv.Error as error:
        raise UserError(f"--data {printable(path)}: not a CSV file: {error}") from error
    rows = [row for row in rows if row]
    if rows and rows[0][0].strip().lower() == "path":
        rows = rows[1:]
    if any(len(row) > 2 for row in rows):
        raise UserError(f"--data {printable(path)}: rows must be path or path,label; put names with commas in quotes")
    return rows
