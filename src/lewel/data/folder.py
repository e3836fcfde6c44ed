"""Image files in a folder at any depth, and the classes that its folders are."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image

from lewel.data.decode import decode, printable, rgbx
from lewel.data.names import Names
from lewel.errors import UserError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
Split = Literal["train", "val"]
_ALLOWED = frozenset(EXTENSIONS)
SPLITS: dict[str, tuple[str, ...]] = {"train": ("train",), "val": ("val", "test")}
_THREADS = 8  # they wait for a disk or a network


@dataclass(frozen=True)
class Files:
    """Image files under `root`, by relative names."""

    root: str
    names: Names
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def file(self, index: int) -> str:
        """Where the image lies."""
        return os.path.join(self.root, self.names[index])

    def path(self, index: int) -> str:
        return printable(self.file(index))

    def read(self, index: int) -> Image.Image:
        return decode(self.file(index))

    def rgbx(self, index: int) -> np.ndarray:
        """As `read`, (h, w, 4) uint8."""
        return rgbx(self.file(index))

    def subset(self, indices: np.ndarray) -> Files:
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, names=self.names.take(indices), labels=labels)

    def digest(self) -> str:
        return self.names.digest()

    def sizes(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """Bytes of the files; 0 for one that is not there."""
        return np.array([_size(self.file(index)) for index in indices.tolist()], np.int64)

    def crcs(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """CRC-32 of the files' bytes; 0 for one that cannot be read."""
        return np.array([_crc(self.file(index)) for index in indices.tolist()], np.int64)


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _crc(file: str) -> int:
    try:
        return zlib.crc32(Path(file).read_bytes()) if os.path.isfile(file) else 0  # a pipe would not end
    except OSError:
        return 0


def is_divided(root: Path) -> bool:
    """Whether the folder has parts for training and for validation."""
    return _part(root, "train") is not None and _part(root, "val") is not None


def open_folder(root: Path, split: Split | None) -> Files:
    """The images of the folder, or of its part. Raises UserError where there are none."""
    top: Path | None = root
    if is_divided(root):
        top = _part(root, split or "train")
    elif split is not None:
        raise UserError(f"--data {printable(root)} is not divided: it needs the folders train/ and val/ (or test/)")
    assert top is not None
    names = find(top)
    if not names:
        raise UserError(f"--data {printable(top)}: no images found; {_looked_for(top)}")
    labels, classes = _labels(names)
    return Files(str(top), Names.of(names), labels, classes)


def _part(root: Path, split: Split) -> Path | None:
    return next((root / name for name in SPLITS[split] if (root / name).is_dir()), None)


# -- which files


def find(top: Path) -> list[str]:
    """The image files below `top`, relative, sorted. Hidden files and folders are left out.

    Links are followed, but every folder is entered once, by its own name rather than a link's where it has both:
    a link to a folder above would list the same files for ever. Raises UserError for a folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    names: list[str] = []
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
            linked = sorted(links, key=os.fsencode)
    return sorted(names, key=lambda name: os.fsencode(name).replace(b"/", b"\0"))  # a folder's name before a longer one


class _Folder(NamedTuple):
    """Image files, folders and links to folders in one folder, as names relative to the top."""

    identity: tuple[int, int]
    files: list[str]
    folders: list[str]
    links: list[str]


def _entries(top: Path, seen: set[tuple[int, int]], folder: str) -> _Folder:
    where = os.path.join(top, folder)
    prefix = f"{folder}/" if folder else ""
    try:
        status = os.stat(where)
        found = _Folder((status.st_dev, status.st_ino), [], [], [])
        if found.identity in seen:
            return found
        with os.scandir(where) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (found.links if entry.is_symlink() else found.folders).append(prefix + entry.name)
                elif os.path.splitext(entry.name)[1].lower() in _ALLOWED:
                    found.files.append(prefix + entry.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {printable(where)}: {error.strerror}") from error
    return found


def _looked_for(top: Path) -> str:
    """What was looked for, and what lies there instead."""
    kinds: Counter[str] = Counter()
    for _, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kinds.update(os.path.splitext(name)[1].lower() or "no extension" for name in files if not name.startswith("."))
    there = ", ".join(f"{count} x {printable(kind)}" for kind, count in kinds.most_common(5)) or "no files"
    shards = " (shards need the shards.safetensors that `lewel data pack` writes last)" if kinds[".tar"] else ""
    return f"looked at any depth for {' '.join(EXTENSIONS)}, and CIFAR-10's data_batch_*.bin; found {there}{shards}"


# -- which classes


def _labels(names: Sequence[str]) -> tuple[np.ndarray | None, list[str] | None]:
    if any("/" not in name for name in names):
        return None, None
    return number([name.split("/", 1)[0] for name in names])


def number(values: Sequence[str]) -> tuple[np.ndarray | None, list[str] | None]:
    """Class numbers in the order of the names, by value where all are integers. One class alone tells nothing: None."""
    classes = sorted(set(values), key=os.fsencode)
    if len(classes) < 2:
        return None, None
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[value] for value in values], dtype=np.int64), [printable(name) for name in classes]
