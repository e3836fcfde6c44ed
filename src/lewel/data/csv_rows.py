"""Rows and columns of a .csv file as people write it: any separator, any tool's names of columns, or no header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from lewel.data import splits
from lewel.data.decode import printable
from lewel.errors import UserError

PATH, LABEL, SPLIT = "path", "label", "split"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Other tools' names of the columns, without spaces, dots and underscores. The first that is there is taken.
PATHS = (
    *("path", "filepath", "imagepath", "imgpath", "filename", "file", "imagefile", "imagefilename", "imagename"),
    *("imgname", "imgfile", "image", "img", "images", "fname", "photo", "picture", "name", "imageid", "id"),
)
LABELS = (
    *("label", "labels", "labelname", "class", "classname", "classes", "category", "categoryname", "target"),
    *("species", "breed", "identity", "diagnosis", "y", "cls", "classid", "labelid", "categoryid", "classlabel"),
)
PARTS = ("split", "set", "subset", "partition", "usage", "phase", "part", "datasplit", "fold")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?\r?\n', re.IGNORECASE)  # Excel's
_UNNAMED = re.compile(r"(unnamed: \d+)?")  # pandas' index
_SPACE_AND_QUOTE = re.compile(r'[,;|\t] +"')
_INVISIBLE = " \t\r\n\v\f\u00a0\u3000\u200b\ufeff"


class Rows(NamedTuple):
    """columns: "path" always; "label", "split" and others by their names.  notes: what was understood, for the user.

    why: there are no labels.
    """

    columns: dict[str, list[str]]
    notes: list[str]
    why: str


def read_rows(text: str, what: str, finds: Callable[[str], bool]) -> Rows:
    """The columns of the text.

    what: names the list in an error.  finds: whether a cell names a file; so a header is told from a row.
    Raises UserError for text that is no CSV, and for columns of which none is known to hold the files.
    """
    given = _SEPARATOR_LINE.match(text)
    text = text[given.end() :] if given else text
    separator = given[1] if given else _separator(text, finds)
    try:
        rows = list(_rows(text, separator))
    except csv.Error as error:
        raise UserError(f"{what}: not a CSV file: {error}") from error
    if not rows:
        return Rows({PATH: []}, [], "")
    named = _header(rows[0], rows[1] if len(rows) > 1 else [], what, finds)
    named += [LABEL] if len(named) == 1 else []
    columns, notes = _columns(rows[1:], named, what) if named else _without_header(rows, what, finds)
    found = _known(columns, what, finds)
    if separator != "," and max(map(len, rows)) > 1:
        notes.insert(0, f"its cells are separated by {SEPARATORS.get(separator, repr(separator))}")
    return found._replace(notes=[*notes, *found.notes])


def trimmed(cell: str) -> str:
    """Without spaces around it, those that nobody sees too."""
    return cell.strip(_INVISIBLE)


# -- rows


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """The rows that are not blank. Cells keep their line ends where these are in quotes."""
    spaced = _SPACE_AND_QUOTE.search(text) is not None  # "a", "b"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaced, strict=True)
    return (row for row in reader if any(map(trimmed, row)))


def _separator(text: str, finds: Callable[[str], bool]) -> str:
    """The first by which the first row has a column of files, or a file in it; else the comma."""
    for separator in SEPARATORS:
        try:
            first = next(islice(_rows(text[:65536], separator), 1), [])
        except csv.Error:
            continue
        is_header = len(first) > 1 and any(_plain(cell) in PATHS for cell in first)
        if is_header or any(map(finds, first)):
            return separator
    return ","


# -- columns


def _header(first: Sequence[str], second: Sequence[str], what: str, finds: Callable[[str], bool]) -> list[str]:
    """The names of the columns; none where the first row is no header. Raises UserError for names that say nothing."""
    if any(map(finds, first)):
        return []
    names = [trimmed(cell).lower() for cell in first]
    if any(_plain(name) in PATHS for name in names):
        return names
    if any(map(finds, second)):
        there = ", ".join(name or "(no name)" for name in names)
        files = next(number for number, cell in enumerate(second) if finds(cell))
        raise UserError(
            f"{what}: its columns are {printable(there)}; name that of the files path (it is column {files + 1}), "
            "that of the classes label, and that of the parts split"
        )
    return []


def _columns(rows: list[list[str]], names: list[str], what: str) -> tuple[dict[str, list[str]], list[str]]:
    """The cells by column, but for columns without a name."""
    width = len(names)
    if any(any(map(trimmed, row[width:])) for row in rows):
        raise UserError(
            f"{what}: rows must be path or path,label, or what a header names, and a row has more than "
            f"{width} cells; put names with commas in quotes"
        )
    cells = [[row[place] if place < len(row) else "" for row in rows] for place in range(width)]
    kept = [place for place, name in enumerate(names) if not _UNNAMED.fullmatch(name)]
    used = [names[place] for place in kept]
    if len(set(used)) < len(used):
        raise UserError(f"{what}: its header names a column twice: {printable(','.join(names))}")
    left_out = any(any(map(trimmed, cells[place])) for place in range(width) if place not in kept)
    notes = ["a column without a name, such as pandas' index, is left out"] if left_out else []
    return {names[place]: cells[place] for place in kept}, notes


def _without_header(
    rows: list[list[str]], what: str, finds: Callable[[str], bool]
) -> tuple[dict[str, list[str]], list[str]]:
    """A path and maybe a label; a column of row numbers may stand before them."""
    files = next((place for place, cell in enumerate(rows[0]) if finds(cell)), 0)
    numbered = files == 1 and all(trimmed(row[0]).isdecimal() for row in rows)
    if files and not numbered:
        raise UserError(
            f"{what}: its files are in column {files + 1}; give it a first line that names the columns, such as "
            f"{','.join(['label', *['other'] * (files - 1), 'path'])}"
        )
    rows = [row[files:] for row in rows]
    columns, _ = _columns(rows, [PATH, LABEL], what)
    return columns, ["its first column, of numbers, is left out"] if numbered else []


def _known(columns: dict[str, list[str]], what: str, finds: Callable[[str], bool]) -> Rows:
    """The columns that hold files, classes and parts by their own names, and in words which these are."""
    columns = {name: cells if _plain(name) in PATHS else [*map(trimmed, cells)] for name, cells in columns.items()}
    path = _path_column(columns, finds)
    others = [name for name in columns if name != path]
    split = next((name for name in others if name == SPLIT or _is_split(name, columns[name])), None)
    label, why = _label_column(columns, [name for name in others if name != split])
    chosen = {PATH: path, LABEL: label, SPLIT: split}
    told = [f"the column {printable(name)} as {known}" for known, name in chosen.items() if name and name != known]
    back = {name: known for known, name in chosen.items() if name}
    found = {back.get(name, name): cells for name, cells in columns.items()}
    if label and not any(found[LABEL]):
        del found[LABEL]
    _check(found, what)
    return Rows(found, [f"it takes {', '.join(told)}"] if told else [], why)


def _path_column(columns: dict[str, list[str]], finds: Callable[[str], bool]) -> str:
    """The column of that name whose first cell names a file, else the first of that name."""
    named = sorted((name for name in columns if _plain(name) in PATHS), key=lambda name: PATHS.index(_plain(name)))
    return next((name for name in named if columns[name] and finds(columns[name][0])), named[0])


def _is_split(name: str, cells: list[str]) -> bool:
    return _plain(name) in PARTS and bool(cells) and all(map(splits.part_of, cells))


def _label_column(columns: dict[str, list[str]], others: list[str]) -> tuple[str | None, str]:
    """The column of the classes, or why there is none. The only other column is one, whatever its name."""
    if LABEL in others:
        return LABEL, ""
    named = sorted((name for name in others if _plain(name) in LABELS), key=lambda name: LABELS.index(_plain(name)))
    if not named and len(columns) == 2 and others:
        return others[0], ""
    if len(named) > 1 and not _same_classes([columns[name] for name in named]):
        several = " and ".join(map(printable, named))
        return None, f"no labels: {several} could be the column of the classes; name that one label"
    if named:
        return named[0], ""
    there = f"its other columns are {printable(', '.join(others))}; " if others else ""
    return None, f"no labels: {there}name that of the classes label"


def _same_classes(columns: list[list[str]]) -> bool:
    """Whether the columns divide the rows alike, as classes and their numbers do."""
    together = len(set(zip(*columns, strict=True)))
    return all(len(set(cells)) == together for cells in columns)


def _check(columns: dict[str, list[str]], what: str) -> None:
    """Raises UserError for rows without a path, labels of some rows only, and parts of other names."""
    if empty := sum(not trimmed(cell) for cell in columns[PATH]):
        raise UserError(f"{what}: {empty} rows have no path")
    if "" in columns.get(LABEL, ()):
        raise UserError(f"{what}: every row needs a label, or none")
    if wrong := sorted({cell for cell in columns.get(SPLIT, ()) if splits.part_of(cell) is None}):
        told = printable(wrong[0]) or "an empty cell"
        raise UserError(f"{what}: its split column has {told}; allowed are {splits.ALLOWED}")


def _plain(name: str) -> str:
    return re.sub(r"[\s._-]", "", trimmed(name).lower())
