"""A list of image files: .txt, a path on each line, or .csv, path or path,label, or what its header names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lewel.data.decode import printable
from lewel.data.folder import SPLITS, Files, Split, number
from lewel.data.names import Names
from lewel.errors import UserError

SUFFIXES = (".txt", ".csv")
PATH, LABEL, SPLIT = "path", "label", "split"


@dataclass(frozen=True)
class Table:
    """The rows of a list by column: "path" always; "label", "split" and others where the list has them."""

    file: Path
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.columns[PATH])

    def part_name(self, split: Split) -> str | None:
        """What the split column calls the part; val goes before test. None without the column or such rows."""
        there = set(self.columns.get(SPLIT, ()))
        return next((name for name in SPLITS[split] if name in there), None)

    def rows(self, split: Split | None) -> np.ndarray:
        """(m,) int64: the rows of that part; None: those for training where there is a split column, else all.

        Raises UserError where there is no such part.
        """
        if split is None and SPLIT not in self.columns:
            return np.arange(len(self))
        if SPLIT not in self.columns:
            raise UserError(
                f"--data {printable(self.file)}: a list is not divided into train and val; give a folder that is, or "
                "a .csv with a header that names a split column"
            )
        if (name := self.part_name(split or "train")) is None:
            wanted = " or ".join(SPLITS[split or "train"])
            raise UserError(f"--data {printable(self.file)}: no row has {wanted} in its split column")
        return np.flatnonzero(np.array([value == name for value in self.columns[SPLIT]]))

    def files(self, rows: np.ndarray) -> Files:
        """The files of those rows, relative to the list's folder; their labels where there are two or more."""
        names = Names.of(self.columns[PATH][row] for row in rows)
        labels = self.columns.get(LABEL)
        numbers, classes = number([labels[row] for row in rows]) if labels is not None else (None, None)
        return Files(str(self.file.parent), names, numbers, classes)


def open_list(path: Path, split: Split | None) -> Files:
    """The files that the list names, or those of its part. Raises UserError for a list that makes no sense."""
    table = read_table(path)
    return table.files(table.rows(split))


def is_divided_list(path: Path) -> bool:
    """Whether the list has a split column: only its first line is read."""
    if path.suffix.lower() != ".csv":
        return False
    with path.open("rb") as file:
        first = os.fsdecode(file.readline().removeprefix(b"\xef\xbb\xbf"))
    return SPLIT in _header(next(csv.reader([first.rstrip("\r\n")]), []))


def read_table(path: Path) -> Table:
    """Raises UserError for a list that is empty, malformed, or not beside the files that it names."""
    # Names may be any bytes; what is not UTF-8 survives as the system's own escapes, as in every name from the disk.
    text = os.fsdecode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # splitlines() would also split at rare characters
    is_csv = path.suffix.lower() == ".csv"
    columns = _csv_columns(path, lines) if is_csv else {PATH: [line for line in lines if line.strip()]}
    if not columns[PATH]:
        raise UserError(f"--data {printable(path)}: no images found; the list is empty, expected a path on each line")
    first = os.path.join(path.parent, columns[PATH][0])
    if not os.path.exists(first):
        raise UserError(
            f"--data {printable(path)}: the first entry, {printable(first)}, is not there; "
            "paths are taken relative to the list's folder"
        )
    return Table(path, columns)


def _header(row: list[str]) -> list[str]:
    """The names of the columns, when the first is "path"; else none. Of two, the second is the label or the split."""
    names = [name.strip().lower() for name in row]
    if not names or names[0] != PATH:
        return []
    return [PATH, LABEL] if len(names) == 1 or (len(names) == 2 and names[1] != SPLIT) else names


def _csv_columns(path: Path, lines: Iterable[str]) -> dict[str, list[str]]:
    try:
        rows = [row for row in csv.reader(lines, strict=True) if row]
    except csv.Error as error:
        raise UserError(f"--data {printable(path)}: not a CSV file: {error}") from error
    header = _header(rows[0]) if rows else []
    rows = rows[1:] if header else rows
    header = header or [PATH, LABEL]
    width = len(header)
    if len(set(header)) < width:
        raise UserError(f"--data {printable(path)}: its header names a column twice: {printable(','.join(header))}")
    if any(len(row) > width for row in rows):
        raise UserError(
            f"--data {printable(path)}: rows must be path or path,label, or what a header that begins with path names; "
            "put names with commas in quotes"
        )
    cells = zip(*(row + [""] * (width - len(row)) for row in rows), strict=True)
    columns = dict(zip(header, map(list, cells), strict=True)) if rows else {PATH: []}
    if not any(columns.get(LABEL, ())):
        columns.pop(LABEL, None)
    elif "" in columns[LABEL]:
        raise UserError(f"--data {printable(path)}: every row needs a label, or none")
    if wrong := sorted(set(columns.get(SPLIT, ())) - {name for names in SPLITS.values() for name in names}):
        raise UserError(
            f"--data {printable(path)}: its split column has {printable(wrong[0]) or 'an empty cell'}; "
            "train, val and test are allowed"
        )
    return columns
