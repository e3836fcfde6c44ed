"""The paths that a list names, as they are on this disk: slashes, spaces and Unicode forms of another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from lewel.data.classes import composed
from lewel.data.decode import first_few, printable
from lewel.data.names import from_os, to_os
from lewel.errors import UserError

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\photos, \\server\photos


class Resolved(NamedTuple):
    """paths: names of files, relative to the list's folder or absolute.  notes: what was changed in them."""

    paths: list[str]
    notes: list[str]


class Place:
    """The folder that a list's paths are relative to."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._listed = cache(self._list)

    def is_there(self, path: str) -> bool:
        """Whether the path as it is written is that of a file."""
        try:
            return bool(path) and os.path.isfile(self._located(path))
        except ValueError:  # no file system takes such a name
            return False

    def finds(self, cell: str) -> bool:
        """Whether `resolved` would find a file by it."""
        return any(self.is_there(self.on_disk(change(cell))) for _, change in _CHANGES)

    def resolved(self, paths: Sequence[str]) -> Resolved:
        """Each path as it is on this disk, where another machine's spelling is all that differs.

        The first path that a change concerns decides it for all: they come from one tool. Only names that are not
        ASCII are looked for one by one, in listings of their folders.
        """
        found, notes = list(paths), list[str]()
        for what, change in _CHANGES[1:]:
            concerned = next((path for path in found if change(path) != path), None)
            if concerned is None or self.is_there(self.on_disk(concerned)):
                continue
            if self.is_there(self.on_disk(change(concerned))):
                found = [change(path) for path in found]
                notes.append(f"its paths are read with {what}, as for {printable(concerned)}")
        named = [path if path.isascii() else self.on_disk(path) for path in found]
        if other := [ours for ours, theirs in zip(named, found, strict=True) if ours != theirs]:
            counted = f"{len(other):,} {'path is' if len(other) == 1 else 'paths are'}"
            notes.append(f"{counted} in another Unicode form on the disk (NFC, NFD): {first_few(other)}")
        return Resolved(named, notes)

    def on_disk(self, path: str) -> str:
        """The path in the Unicode form that its folders and file have here; unchanged where they are not there."""
        if path.isascii():
            return path
        so_far, pieces = "", path.split("/")
        for number, piece in enumerate(pieces):
            if piece.isascii():
                ours = piece
            else:
                exact, forms = self._listed(so_far)
                if piece not in exact and composed(piece) not in forms:
                    return path
                ours = piece if piece in exact else forms[composed(piece)]
            so_far = ours if not number else f"{so_far}/{ours}"
        return so_far

    def check_first(self, path: str, what: str) -> None:
        """Raises UserError, with what may be meant, where the first path of a list is not that of a file."""
        if os.path.exists(self._located(path)):
            return
        raise UserError(
            f"{what}: the first entry, {printable(self._located(path))}, is not there; "
            f"paths are taken relative to the list's folder{self._hint(path)}"
        )

    def _hint(self, path: str) -> str:
        if _WINDOWS.match(path):
            return "; this is a path on a Windows machine: write it relative to the list, with slashes"
        for separator in ("\t", ",", ";", " "):
            if self.finds(path.rpartition(separator)[0]):
                return "; a line of a .txt list is a path alone: give a .csv of path,label for labels"
        if any(self.is_there(path + ending) for ending in (".jpg", ".png", ".jpeg", ".JPEG")):
            return "; the names lack their ending, such as .jpg: write it too"
        for folder in sorted(self._folders()):
            if self.is_there(f"{folder}/{path}"):
                return f"; {printable(folder)}/{printable(path)} is: write the folder too, or put the list into it"
        return ""

    def _folders(self) -> list[str]:
        try:
            with os.scandir(to_os(self.folder) or ".") as entries:
                return [from_os(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def _located(self, path: str) -> str:
        return os.path.join(to_os(self.folder), to_os(path))

    def _list(self, folder: str) -> tuple[frozenset[str], dict[str, str]]:
        """The names in a folder as they are, and by their composed form."""
        try:
            names = [from_os(name) for name in os.listdir(self._located(folder) or ".")]
        except OSError:
            names = []
        return frozenset(names), {composed(name): name for name in names if not name.isascii()}


# How a list may spell a path that is on the disk otherwise, in the order in which that is tried.
_CHANGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", lambda path: path),
    ("no spaces around them", str.strip),
    ("slashes for backslashes", lambda path: path.replace("\\", "/")),
)
