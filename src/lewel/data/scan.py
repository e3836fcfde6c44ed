"""The image files below a folder, and a count of everything else that lies there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lewel.data import own_pictures
from lewel.data.decode import first_few, printable
from lewel.data.names import from_os, sort_key, to_os
from lewel.errors import UserError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
UNREAD = (".heic", ".heif", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".psd", ".svg")
# Of a NAS, of macOS, Windows and Linux: thumbnails, copies and waste.
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "__macosx", "$recycle.bin"}
    | {"system volume information", "lost+found"}
)
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_ALLOWED = frozenset(EXTENSIONS)
_EXTENSION = re.compile(r"\.[a-z0-9]{1,10}")
_THREADS = 8  # they wait for a disk or a network
_HIDDEN_FOLDERS = 1000  # a snapshot folder holds the whole disk many times: so many are looked into


@dataclass
class LeftOut:
    """What lies beside the images and is not taken, by kind. Names are relative to the folder that was searched."""

    others: Counter[str] = field(default_factory=Counter)  # by extension
    hidden: list[str] = field(default_factory=list)  # files that begin with a dot and end as an image
    links: list[str] = field(default_factory=list)  # that lead to themselves or to nothing
    pictures: list[str] = field(default_factory=list)  # that lewel made, and folders of its runs and results
    folders: list[str] = field(default_factory=list)  # hidden, or a system's
    in_folders: Counter[str] = field(default_factory=Counter)  # images in these, by the folder's name
    all_folders: bool = True  # whether all of them were looked into

    def add(self, other: LeftOut) -> None:
        """Take up what was left out of another folder."""
        self.others.update(other.others)
        for mine, its in (
            (self.hidden, other.hidden),
            (self.links, other.links),
            (self.pictures, other.pictures),
            (self.folders, other.folders),
        ):
            mine += its

    def sentence(self) -> str:
        """One line for the user; '' where nothing was left out."""
        count, unread = self.others.total(), [kind for kind in UNREAD if kind in self.others]
        convert = f"; {', '.join(unread)} can be used once they are JPEG or PNG files" if unread else ""
        parts = [f"{_counted(count, 'other file')} ({by_extension(self.others)}){convert}"] if count else []
        parts += self._images()
        return f"left out: {'; '.join(parts)}" if parts else ""

    def listing(self) -> str:
        """The same in short, where there are no images at all."""
        return "; ".join([*([by_extension(self.others)] if self.others else []), *self._images()])

    def _images(self) -> Iterator[str]:
        if self.in_folders:
            count, least = self.in_folders.total(), "" if self.all_folders else "at least "
            named = first_few([name for name, _ in self.in_folders.most_common()])
            yield f"{least}{_counted(count, 'image')} in hidden or system folders ({named})"
        for names, one, several in (
            (self.hidden, "hidden image", "hidden images"),
            (self.links, "link that leads nowhere", "links that lead nowhere"),
            (self.pictures, "picture or folder of lewel's own", "pictures or folders of lewel's own"),
        ):
            if names:
                named = first_few(sorted(names, key=sort_key))
                yield f"{len(names):,} {one if len(names) == 1 else several} ({named})"


class Found(NamedTuple):
    """The images, relative to the folder and sorted, and what was left out."""

    names: list[str]
    left_out: LeftOut


def find(top: Path) -> Found:
    """The image files below `top`. Hidden files and folders, and those of systems such as @eaDir, are left out.

    Links are followed, but every folder is entered once, by its own name rather than a link's where it has both:
    a link to a folder above would list the same files for ever. Raises UserError for a folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    names: list[str] = []
    left_out = LeftOut()
    linked = [""]
    with ThreadPoolExecutor(_THREADS) as pool:
        while linked:
            links: list[str] = []
            for link in linked:
                pending = [link]
                while pending:
                    found = list(pool.map(partial(_entries, top, seen), pending))
                    pending = []
                    for folder in found:
                        if folder.identity not in seen:
                            seen.add(folder.identity)
                            names += folder.files
                            pending += folder.folders
                            links += folder.links
                            left_out.add(folder.left_out)
            linked = sorted(links, key=sort_key)
    _look_into_hidden(top, left_out)
    return Found(sorted(names, key=sort_key), left_out)


def by_extension(kinds: Counter[str], most: int = 5) -> str:
    """The most frequent of them: "10 x .heic, 3 x no extension"."""
    more = ", ..." if len(kinds) > most else ""
    return ", ".join(f"{count} x {printable(kind)}" for kind, count in kinds.most_common(most)) + more


def extension(name: str) -> str:
    """In lower case, or in words that there is none."""
    ending = os.path.splitext(name)[1].lower()
    return ending if _EXTENSION.fullmatch(ending) else "no extension"


@dataclass
class _Folder:
    """Image files, folders and links to folders in one folder, as names relative to the top."""

    identity: tuple[int, int]
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def _entries(top: Path, seen: set[tuple[int, int]], folder: str) -> _Folder:
    where = os.path.join(top, to_os(folder))
    prefix, signs = f"{folder}/" if folder else "", set[str]()
    try:
        status = os.stat(where)
        found = _Folder((status.st_dev, status.st_ino))
        if found.identity in seen:
            return found
        with os.scandir(where) as entries:
            for entry in entries:
                _sort(found, entry, prefix + from_os(entry.name))
                if entry.name in own_pictures.SIGNS:
                    signs.add(entry.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {printable(where)}: {error.strerror}") from error
    if folder and own_pictures.is_own_folder(signs):
        return _Folder(found.identity, left_out=LeftOut(pictures=[folder]))
    _take_own_pictures(top, found, folder)
    return found


def _sort(found: _Folder, entry: os.DirEntry[str], name: str) -> None:
    """Put one entry where it belongs."""
    is_hidden, is_image = entry.name.startswith("."), os.path.splitext(entry.name)[1].lower() in _ALLOWED
    is_link = entry.is_symlink()
    try:
        is_folder = entry.is_dir()
        if is_link and not is_folder:
            entry.stat()
    except OSError:
        if not is_hidden:
            found.left_out.links.append(name)
        return
    if is_folder:
        if is_hidden or entry.name.lower() in SYSTEM_FOLDERS:
            found.left_out.folders += [] if is_link else [name]
        else:
            (found.links if is_link else found.folders).append(name)
    elif is_image:
        (found.left_out.hidden if is_hidden else found.files).append(name)
    elif not is_hidden and entry.name.lower() not in SYSTEM_FILES:
        found.left_out.others[extension(entry.name)] += 1


def _take_own_pictures(top: Path, found: _Folder, folder: str) -> None:
    """Move the pictures that lewel made from the images to what is left out."""
    if own := own_pictures.among(top, found.files, is_top=not folder):
        found.left_out.pictures += own
        found.files = [name for name in found.files if name not in own]


def _look_into_hidden(top: Path, left_out: LeftOut) -> None:
    """Count the images in the folders that are left out, in so many of them at most. None of them is an error."""
    pending = [(os.path.basename(folder), folder) for folder in sorted(left_out.folders, key=sort_key)]
    looked_into = 0
    while pending and looked_into < _HIDDEN_FOLDERS:
        (named, folder), looked_into = pending.pop(), looked_into + 1
        try:
            with os.scandir(os.path.join(top, to_os(folder))) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((named, f"{folder}/{from_os(entry.name)}"))
                    elif os.path.splitext(entry.name)[1].lower() in _ALLOWED:
                        left_out.in_folders[named] += 1
        except OSError:
            continue
    left_out.all_folders = not pending


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
