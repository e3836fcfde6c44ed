"""A list of image files: .txt, a path on each line, or .csv (.tsv), path or path,label, or what its header names."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lewel.data import splits, text_files
from lewel.data.classes import alike, number
from lewel.data.csv_rows import LABEL, PATH, SPLIT, Rows, read_rows
from lewel.data.decode import first_few, printable
from lewel.data.folder import Files
from lewel.data.list_paths import Place
from lewel.data.names import Names, as_bytes, is_utf8, sort_key
from lewel.data.splits import Split
from lewel.errors import UserError

TABLES = (".csv", ".tsv")
SUFFIXES = (".txt", *TABLES)
# Tried on a list that is not UTF-8 until one gives the name of a file that is there. Nothing else tells them apart.
ENCODINGS = ("cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "euc_kr", "mac_roman")


@dataclass(frozen=True)
class Table:
    """The rows of a list by column: "path" always; "label", "split" and others where the list has them.

    notes: sentences for the user on how it was read.  why: there are no labels.
    """

    file: Path
    columns: dict[str, list[str]]
    notes: tuple[str, ...] = ()
    why: str = ""

    def __len__(self) -> int:
        return len(self.columns[PATH])

    def parts(self) -> splits.Named | None:
        """What the split column calls the parts; None where the list is not divided.

        Raises UserError where two names stand for one part.
        """
        there = set(self.columns.get(SPLIT, ()))
        return splits.named(there, f"--data {printable(self.file)}") if splits.is_divided(there) else None

    def rows(self, split: Split | None) -> np.ndarray:
        """(m,) int64: the rows of that part; None: those for training where there is a split column, else all.

        Raises UserError where there is no such part.
        """
        if SPLIT not in self.columns:
            if split is None:
                return np.arange(len(self))
            raise UserError(
                f"--data {printable(self.file)}: a list is not divided into train and val; give a folder that is, or "
                "a .csv with a header that names a split column"
            )
        there, where = set(self.columns[SPLIT]), f"--data {printable(self.file)}"
        missing = not splits.is_divided(there) if split == "val" else not splits.by_part(there)["train"]
        if missing:
            wanted = "val or test" if splits.by_part(there)["train"] else "train"
            raise UserError(f"{where}: no row has {wanted} in its split column")
        name = splits.named(there, where).val if split == "val" else splits.train_name(there, where)
        return np.flatnonzero(np.array([value == name for value in self.columns[SPLIT]]))

    def files(self, rows: np.ndarray, notes: tuple[str, ...] = ()) -> Files:
        """The files of those rows, relative to the list's folder; their labels where there are two or more."""
        names = Names.of(self.columns[PATH][row] for row in rows)
        if LABEL not in self.columns:
            return Files(str(self.file.parent), names, notes=notes, why=self.why)
        labels, classes, why = number([self.columns[LABEL][row] for row in rows])
        return Files(str(self.file.parent), names, labels, classes, notes, why)


def open_list(path: Path, split: Split | None) -> Files:
    """The files that the list names, or those of its part. Raises UserError for a list that makes no sense."""
    table = read_table(path)
    rows, notes = table.rows(split), table.notes
    if split == "val" and (parts := table.parts()) is not None and (said := splits.said(parts)):
        notes += (f"{printable(path)}: {said}",)
    return table.files(rows, notes)


def is_divided_list(path: Path) -> bool:
    """Whether the list has a column of parts."""
    return path.suffix.lower() in TABLES and SPLIT in _read(path).columns


def read_table(path: Path) -> Table:
    """Raises UserError for a list that is empty, malformed, or not beside the files that it names."""
    place, what = Place(str(path.parent)), f"--data {printable(path)}"
    read = _read(path)
    found = place.resolved(read.columns[PATH])
    place.check_first(found.paths[0], what)
    columns = read.columns | {PATH: found.paths}
    repeated, why = _repeated(columns)
    notes = [*read.notes, *found.notes, repeated, alike(set(columns.get(LABEL, ())))]
    if why:
        columns.pop(LABEL)
    return Table(path, columns, tuple(f"{printable(path)}: {note}" for note in notes if note), why or read.why)


def _read(path: Path) -> Rows:
    """The columns as they are written. Raises UserError for a list that is empty or malformed."""
    what, place = f"--data {printable(path)}", Place(str(path.parent))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror or error}") from error
    text = text_files.decoded(content, what)
    read = _parsed(path, text.content, what, place)
    if not read.columns[PATH]:
        raise UserError(f"{what}: no images found; the list is empty, expected a path on each line")
    return read if text.is_utf8 else _not_utf8(path, text.content, read, what, place)


def _parsed(path: Path, text: str, what: str, place: Place) -> Rows:
    if path.suffix.lower() in TABLES:
        return read_rows(text, what, place.finds)
    return Rows({PATH: [line for line in text_files.lines(text) if line.strip()]}, [], "")


def _not_utf8(path: Path, text: str, read: Rows, what: str, place: Place) -> Rows:
    """The list by the encoding in which its files are there, or byte for byte. Raises UserError where none fits."""
    name = next((name for name in read.columns[PATH] if not is_utf8(name)), None)
    if name is not None and place.finds(name):
        note = "it is not UTF-8: its names are taken byte for byte, as they are on the disk"
        return read._replace(notes=[note, *read.notes])
    for encoding in ENCODINGS if name is not None else ():
        try:
            whole = as_bytes(text).decode(encoding)
            if place.finds(as_bytes(name or "").decode(encoding)):
                again = _parsed(path, whole, what, place)
                return again._replace(notes=[f"it is not UTF-8: read as {encoding}, in which its files are there"])
        except UnicodeDecodeError:
            continue
    line = next(line for line in text_files.lines(text) if not is_utf8(line))
    raise UserError(
        f"{what} is not UTF-8, first in the line {printable(line)}; save it as UTF-8 (in Excel: CSV UTF-8; in a shell: "
        "iconv -f cp1252 -t utf-8)"
    )


def _repeated(columns: dict[str, list[str]]) -> tuple[str, str]:
    """A note on files that several rows name, and where their labels differ why these are none; else ''."""
    several = {path for path, count in Counter(columns[PATH]).items() if count > 1}
    if not several:
        return "", ""
    labels = defaultdict[str, set[str]](set)
    for path, label in zip(columns[PATH], columns.get(LABEL, ()), strict=False):
        if path in several:
            labels[path].add(label)
    named = sorted(several, key=sort_key)
    counted = f"{len(several):,} {'file is' if len(several) == 1 else 'files are'}"
    note = f"{counted} named by several rows, and count as often: {first_few(named)}"
    if wrong := [path for path in named if len(labels[path]) > 1]:
        return note, f"no labels: {len(wrong):,} files have several: {first_few(wrong)}; give each file one"
    return note, ""
