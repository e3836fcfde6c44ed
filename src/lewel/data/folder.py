"""Image files in a folder at any depth, and the classes that its folders are."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from lewel.data import classes as by_class
from lewel.data import splits
from lewel.data.decode import decode, printable, rgbx
from lewel.data.names import Names, from_os, to_os
from lewel.data.scan import EXTENSIONS, LeftOut, find
from lewel.data.splits import Split
from lewel.errors import UserError


@dataclass(frozen=True)
class Files:
    """Image files under `root`, by relative names.

    notes: sentences for the user on what was found.  why: there are no labels, where the names do not say it.
    """

    root: str
    names: Names
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    notes: tuple[str, ...] = ()
    why: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def unlabelled(self) -> str:
        """Why there are no labels; '' where there are some."""
        return "" if self.labels is not None else self.why or by_class.why_no_folders(self.names, self.root)

    def file(self, index: int) -> str:
        """Where the image lies."""
        return os.path.join(self.root, to_os(self.names[index]))

    def path(self, index: int) -> str:
        """The same as text, whatever the encoding of the system's names."""
        return os.path.join(from_os(self.root), self.names[index])

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


# -- parts


def is_divided(root: Path) -> bool:
    """Whether the folder has parts for training and for validation."""
    return root.is_dir() and splits.is_divided(folders(root))


def open_folder(root: Path, split: Split | None) -> Files:
    """The images of the folder, or of its part. Raises UserError where there are none, or two folders are one part."""
    if not is_divided(root):
        if split is not None:
            raise UserError(f"--data {printable(root)} is not divided: it needs the folders train/ and val/ (or test/)")
        return _open(root)
    where, there = f"--data {printable(root)}", folders(root)
    if split == "val":
        chosen = splits.named(there, where)
        images, said = _open(root / to_os(chosen.val)), splits.said(chosen)
        return replace(images, notes=(*images.notes, *([f"{printable(root)}: {said}"] if said else ())))
    return _open(root / to_os(splits.train_name(there, where)))


def part_names(root: Path) -> splits.Named:
    """What the parts of a divided folder are called. Raises UserError as `open_folder`."""
    return splits.named(folders(root), f"--data {printable(root)}")


def folders(root: Path) -> tuple[str, ...]:
    """The names of the folders in it, but for hidden ones. A folder of a million files is listed once."""
    try:
        return _listed(str(root), os.stat(root).st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read the folder {printable(root)}: {error.strerror}") from error


@lru_cache(8)
def _listed(root: str, _changed: int) -> tuple[str, ...]:
    with os.scandir(root) as entries:
        return tuple(from_os(e.name) for e in entries if not e.name.startswith(".") and _is_folder(e))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _open(top: Path) -> Files:
    names, left_out = find(top)
    if not names:
        raise UserError(f"--data {printable(top)}: no images found; {_looked_for(left_out)}")
    labels, classes, _ = by_class.of_folders(names, str(top))
    notes = [f"{printable(top)}: {told}" for told in (left_out.sentence(), by_class.alike(classes or ())) if told]
    return Files(str(top), Names.of(names), labels, classes, tuple(notes))


def _looked_for(left_out: LeftOut) -> str:
    """What was looked for, and what lies there instead."""
    there = left_out.listing() or "no files"
    shards = (
        " (shards need the shards.safetensors that `lewel data pack` writes last)" if left_out.others[".tar"] else ""
    )
    return f"looked at any depth for {' '.join(EXTENSIONS)}, and CIFAR-10's data_batch_*.bin; found {there}{shards}"
