"""What each tar shard will hold, byte for byte, before one is written: names, headers and places of its members.

Plain WebDataset: an image is 000000012.jpg, with the file's own ending, and where there are labels 000000012.cls
behind it. The number is the image's place in the order of the folder, so that files of one stem, dots, line ends and
bytes that are not UTF-8 in their names do no harm; the names themselves are in the index.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lewel.data.folder import Files
from lewel.data.names import starts
from lewel.errors import UserError

BLOCK = tarfile.BLOCKSIZE
_ENDING = re.compile(r"[a-z0-9]{1,16}")


@dataclass(frozen=True)
class Shard:
    """The images first .. last - 1 of a part; total: bytes of the file."""

    name: str
    part: str
    first: int
    last: int
    total: int


@dataclass(frozen=True)
class Plan:
    """All shards, and of each part the bytes of its files (n,) int64."""

    parts: Mapping[str, Files]
    sizes: Mapping[str, np.ndarray]
    shards: list[Shard]

    @property
    def total(self) -> int:
        """Bytes of all shards."""
        return sum(shard.total for shard in self.shards)

    def starts(self, shard: Shard) -> np.ndarray:
        """(k,) int64: where the bytes of each of its images begin."""
        taken = _taken(self.sizes[shard.part][shard.first : shard.last], self.parts[shard.part])
        return taken.cumsum() - taken + BLOCK

    def image_header(self, part: str, index: int) -> bytes:
        """The tar header of an image."""
        ending = os.path.splitext(self.parts[part].names[index])[1][1:].lower()
        name = f"{index:09d}.{ending if _ENDING.fullmatch(ending) else 'img'}"
        return _header(name, int(self.sizes[part][index]))

    def behind_image(self, part: str, index: int) -> bytes:
        """What follows an image's bytes: zeros up to the next block, and its label."""
        zeros = bytes(-int(self.sizes[part][index]) % BLOCK)
        labels = self.parts[part].labels
        if labels is None:
            return zeros
        text = str(labels[index]).encode()
        return zeros + _header(f"{index:09d}.cls", len(text)) + text.ljust(BLOCK, b"\0")

    def behind_all(self, shard: Shard) -> bytes:
        """Two empty blocks end an archive, and zeros up to a whole record."""
        taken = int(_taken(self.sizes[shard.part][shard.first : shard.last], self.parts[shard.part]).sum())
        return bytes(shard.total - taken)


def plan(parts: Mapping[str, Files], sizes: Mapping[str, np.ndarray], shard_size: int) -> Plan:
    """Shards of at most `shard_size` bytes, filled in the order of the images.

    Raises UserError for a size that an image exceeds.
    """
    shards = []
    for part, files in parts.items():
        taken = _taken(sizes[part], files)
        if (least := _whole(int(taken.max()))) > shard_size:
            raise UserError(f"--shard-size {shard_size:g}: the largest image of {part} needs {least}; give more")
        ends = starts(taken)
        room = shard_size // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * BLOCK
        first = number = 0
        while first < len(files):
            last = int(np.searchsorted(ends, ends[first] + room, side="right")) - 1
            total = _whole(int(ends[last] - ends[first]))
            shards.append(Shard(f"{part}-{number:06d}.tar", part, first, last, total))
            first, number = last, number + 1
    return Plan(parts, sizes, shards)


def _taken(sizes: np.ndarray, files: Files) -> np.ndarray:
    """Bytes that images take in a shard: a header, themselves in whole blocks, a label."""
    return BLOCK + -(-sizes // BLOCK) * BLOCK + (0 if files.labels is None else 2 * BLOCK)


def _whole(taken: int) -> int:
    return -(-(taken + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)
