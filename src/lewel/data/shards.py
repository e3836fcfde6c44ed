"""Images in tar shards, read at random by their byte offsets, from a disk or from an object store.

The shards are plain WebDataset; the index beside them says where each image lies, in the order of the folder that was
packed. So a run sees the same images in the same order as on the folder, and nothing is shuffled by shard.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import Lock

import numpy as np
from jaxtyping import Int64
from PIL import Image

from lewel.data import remote
from lewel.data.classes import why_no_folders
from lewel.data.decode import decode, printable, rgbx
from lewel.data.names import Names, from_os
from lewel.errors import UserError

OPEN_SHARDS = 256  # files a process keeps open; systems allow 1024 or more


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the bytes of n images lie in s shards.

    names: file names of the shards. totals: (s,) int64 bytes of each. shard: (n,) int32. start, size: (n,) int64, of
    the image's own bytes. crc: (n,) uint32, their CRC-32.
    """

    names: Names
    totals: np.ndarray
    shard: np.ndarray
    start: np.ndarray
    size: np.ndarray
    crc: np.ndarray


@dataclass(frozen=True)
class Shards:
    """Images in shards in the folder `root`, a path or a URL; `names` are those of the files that were packed."""

    root: str
    names: Names
    layout: Layout
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    here: Mapping[int, bytes] = field(default_factory=dict)  # fetched before they are read
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def unlabelled(self) -> str:
        """Why there are no labels; '' where there are some."""
        return "" if self.labels is not None else why_no_folders(self.names, self.root)

    def path(self, index: int) -> str:
        return f"{from_os(self._shard(int(self.layout.shard[index])))}#{self.names[index]}"

    def read(self, index: int) -> Image.Image:
        """Raises UserError, which names the shard, for bytes that are missing or not those that were packed."""
        return decode(self.path(index), self._content(index))

    def rgbx(self, index: int) -> np.ndarray:
        """As `read`, (h, w, 4) uint8."""
        return rgbx(self.path(index), self._content(index))

    def _content(self, index: int) -> bytes:
        return self.here[index] if index in self.here else self.raw([index])[0]

    def raw(self, indices: Sequence[int]) -> list[bytes]:
        """The files' own bytes, those at a URL all at once. Raises UserError as `read` does."""
        ranges = [self._range(index) for index in indices]
        found = remote.read(ranges) if remote.is_url(self.root) else [_read(each) for each in ranges]
        for index, each, data in zip(indices, ranges, found, strict=True):
            if problem := _problem(data, each.end - each.start, int(self.layout.crc[index])):
                raise UserError(
                    f"{printable(each.url)} is damaged: {printable(self.names[index])} at byte {each.start} {problem}; "
                    f"{AGAIN}"
                )
        return found

    def fetched(self, indices: Sequence[int]) -> Shards:
        """The same images; those of `indices` are already here where they come from a URL."""
        if not remote.is_url(self.root):
            return self
        return replace(self, here=dict(zip(indices, self.raw(indices), strict=True)))

    def subset(self, indices: np.ndarray) -> Shards:
        layout = self.layout
        chosen = {name: getattr(layout, name)[indices] for name in ("shard", "start", "size", "crc")}
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, names=self.names.take(indices), layout=replace(layout, **chosen), labels=labels)

    def digest(self) -> str:
        return self.names.digest()

    def sizes(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """Bytes of the images' files, as they were packed."""
        return self.layout.size[indices].astype(np.int64)

    def crcs(self, indices: np.ndarray) -> Int64[np.ndarray, " chosen"]:
        """CRC-32 of the files' bytes, as they were packed; what is read must have it."""
        return self.layout.crc[indices].astype(np.int64)

    def check(self) -> Shards:
        """Itself. Raises UserError for a shard that is missing or has not the size that it was written with."""
        shards = [self._shard(number) for number in range(len(self.layout.names))]
        expected = self.layout.totals.tolist()
        found = remote.sizes(shards) if remote.is_url(self.root) else [_size(shard) for shard in shards]
        for shard, wanted, there in zip(shards, expected, found, strict=True):
            if there is not None and there != wanted:
                raise UserError(f"{printable(shard)} has {there} bytes, not {wanted}; {AGAIN}")
        return self

    def _shard(self, number: int) -> str:
        name = self.layout.names[number]
        return f"{self.root}/{name}" if remote.is_url(self.root) else os.path.join(self.root, name)

    def _range(self, index: int) -> remote.Range:
        start, size = int(self.layout.start[index]), int(self.layout.size[index])
        return remote.Range(self._shard(int(self.layout.shard[index])), start, start + size)


AGAIN = "copy it again, or delete it and pack again with the same `lewel data pack`"


def _problem(data: bytes, size: int, crc: int) -> str:
    if len(data) != size:
        return f"has {len(data)} bytes, not {size}"
    return "" if zlib.crc32(data) == crc else "is not what was packed (its CRC-32 differs)"


def _size(shard: str) -> int:
    try:
        return os.stat(shard).st_size
    except OSError as error:
        raise UserError(f"{printable(shard)}: {(error.strerror or str(error)).lower()}; {AGAIN}") from error


def _read(wanted: remote.Range) -> bytes:
    try:
        return _opened(wanted.url).read(wanted.start, wanted.end)
    except OSError as error:
        raise UserError(f"{printable(wanted.url)}: {(error.strerror or str(error)).lower()}; {AGAIN}") from error


class _Open:
    """An open shard; closed when the last who reads from it is done."""

    def __init__(self, path: str) -> None:
        self.lock = Lock()
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))

    def read(self, start: int, end: int) -> bytes:
        """Without moving the file's position, which forked workers share."""
        if hasattr(os, "pread"):
            return os.pread(self.handle, end - start, start)
        with self.lock:  # Windows, where no worker is forked; but threads read at once
            os.lseek(self.handle, start, os.SEEK_SET)
            return os.read(self.handle, end - start)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


_opened = lru_cache(OPEN_SHARDS)(_Open)
