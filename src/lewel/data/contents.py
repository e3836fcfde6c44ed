"""What lies behind images, to find equal ones without decoding any: files by inode and bytes, pixels in memory.

Bytes are compared in stages, and only images that all stages before found alike reach the next: of files their sizes,
4 KB from their middles, then sha256 of the whole. Of shards the index knows sizes and CRC-32, so nothing is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Bool, Int64

from lewel.data.cifar import Pixels
from lewel.data.shards import Shards

BLOCK = 4096  # bytes from a file's middle
_THREADS, _CHUNK = 8, 256  # threads wait for a disk; a task a file would cost more than its reading

Stage = Callable[[Sequence[int]], list[Hashable]]


@dataclass(frozen=True, eq=False)
class Contents:
    """Of n images.

    identity: the numbers of their files, the same for a file and its links, however named; below 0: not known.
    sizes: bytes; below 0: nothing is known of the image, and it equals no other.
    stages: from numbers of images to what equal ones have in common; None for one that cannot be read.
    """

    identity: Int64[np.ndarray, "n 2"]
    sizes: Int64[np.ndarray, " n"]
    stages: tuple[Stage, ...]


def of_files(count: int, file: Callable[[int], str | os.PathLike[str]]) -> Contents:
    """file: from a number to where the image lies."""
    found = np.array(_each(lambda index: _status(file(index)), range(count)), np.int64).reshape(-1, 3)

    def stage(digest: Callable[[int], bytes]) -> Stage:
        return lambda indices: _each(lambda index: _read(file(index), digest), indices)

    return Contents(found[:, :2], found[:, 2], (stage(_middle), stage(_whole)))


def of_pixels(images: Pixels) -> Contents:
    """Images in memory, row by row."""
    count = len(images)
    sizes = np.full(count, images.pixels[:1].nbytes, np.int64)
    return Contents(
        np.full((count, 2), -1, np.int64),
        sizes,
        (lambda indices: [hashlib.sha256(images.pixels[index].data).digest() for index in indices],),
    )


def unknown(count: int) -> Contents:
    """Images of which nothing is known without a look at every pixel: none equals another."""
    return Contents(np.full((count, 2), -1, np.int64), np.full(count, -1, np.int64), ())


def of_shards(images: Shards) -> Contents:
    """As the shards' index says; what is read must have this CRC-32."""
    every = np.arange(len(images))
    crcs = images.crcs(every)
    return Contents(
        np.full((len(images), 2), -1, np.int64),
        images.sizes(every),
        (lambda indices: [int(crcs[index]) for index in indices],),
    )


def _each(task: Callable[[int], Hashable], indices: Sequence[int]) -> list[Hashable]:
    chunks = [indices[first : first + _CHUNK] for first in range(0, len(indices), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(chain.from_iterable(pool.map(lambda chunk: [task(index) for index in chunk], chunks)))


def _status(file: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Device, inode and size; -1 for what is no plain file, such as a pipe, which would not end, or is empty."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return -1, -1, -1
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return -1, -1, -1
    known = found.st_ino > 0  # some file systems have no inodes
    return (_signed(found.st_dev), _signed(found.st_ino), found.st_size) if known else (-1, -1, found.st_size)


def _signed(number: int) -> int:
    """Of 64 bits, or of the 128 that Windows may have: as far as int64 holds them."""
    return number & (2**63 - 1)


def _read(file: str | os.PathLike[str], digest: Callable[[int], bytes]) -> bytes | None:
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        return digest(handle)
    except OSError:
        return None
    finally:
        os.close(handle)


def _middle(handle: int) -> bytes:
    os.lseek(handle, max(os.fstat(handle).st_size // 2 - BLOCK // 2, 0), os.SEEK_SET)
    return hashlib.blake2b(os.read(handle, BLOCK), digest_size=16).digest()


def _whole(handle: int) -> bytes:
    found = hashlib.sha256()
    for part in iter(lambda: os.read(handle, 2**20), b""):
        found.update(part)
    return found.digest()


# -- which are equal


def equal(train: Contents, val: Contents) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " val"]]:
    """A number for each image: those of val that have the number of another image, of either part, equal it.

    Images of train are compared with those of val alone, so two of them may be equal and have two numbers. A file that
    is in both parts need not be read.
    """
    parts, begin = (train, val), len(train.sizes)
    files = _numbered(np.concatenate([part.identity for part in parts]))
    first = np.unique(files, return_index=True)[1]  # an image of each file
    sought = np.zeros(len(first), bool)
    sought[files[begin:]] = True
    sought[files[:begin]] = False
    sizes = np.concatenate([part.sizes for part in parts])[first]
    among = np.flatnonzero(sizes >= 0)
    among, labels = _shared(among, sizes[among], sought)
    for stages in zip(train.stages, val.stages, strict=True):
        sides = first[among] >= begin
        keys = np.empty(len(among), object)
        for side, stage in enumerate(stages):
            keys[sides == side] = stage((first[among[sides == side]] - side * begin).tolist())
        read = np.array([key is not None for key in keys], bool)
        pairs = dict[Hashable, int]()
        found = [pairs.setdefault(pair, len(pairs)) for pair in zip(labels[read].tolist(), keys[read], strict=True)]
        among, labels = _shared(among[read], np.array(found, np.int64), sought)
    number = np.arange(len(first))
    _, of_group, group = np.unique(labels, return_index=True, return_inverse=True)
    number[among] = among[of_group][group]
    return number[files[:begin]], number[files[begin:]]


def _numbered(identity: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
    """0, 1, ... the same for the same file; a file that is not known has its own."""
    own = np.where((identity < 0).any(axis=1), np.arange(1, len(identity) + 1), 0)
    return np.unique(np.concatenate([identity, own[:, None]], axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _shared(
    among: Int64[np.ndarray, " k"], keys: Int64[np.ndarray, " k"], sought: Bool[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " kept"]]:
    """Those whose key another one has too, if one of these is sought; and numbers for their keys."""
    labels = np.unique(keys, return_inverse=True)[1]
    several = np.bincount(labels)[labels] > 1
    kept = several & (np.bincount(labels, weights=sought[among])[labels] > 0)
    return among[kept], labels[kept]
