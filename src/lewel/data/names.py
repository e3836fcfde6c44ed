"""Names of files and classes: their one form in memory and in files, and a million of them in two arrays.

A name is text: UTF-8, where bytes that are not UTF-8 are lone surrogates (Python's "surrogateescape"), whatever the
encoding of the system's file names. So it is kept byte for byte, and JSON, .npz and an index give it back. It becomes
the system's own form, by `to_os`, where a file is opened, and is escaped, by `printable`, where it is shown.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


def from_os(name: str) -> str:
    """The text of a name that the system gave; of what is text already, the same."""
    try:
        return name if name.isascii() else os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name


def to_os(name: str) -> str:
    """The name as the system takes it; of a name that the system gave, the same."""
    return name if name.isascii() else os.fsdecode(as_bytes(name))


def as_bytes(name: str) -> bytes:
    """The bytes that the name has on the disk."""
    return name.encode("utf-8", "surrogateescape")


def is_utf8(name: str) -> bool:
    """Whether the name holds no bytes that are not UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def sort_key(name: str) -> bytes:
    """The order of the bytes, on every machine; a folder's files before those of a folder whose name is longer."""
    return as_bytes(name).replace(b"/", b"\0")


@dataclass(frozen=True, eq=False)
class Names:
    """In arrays: as `str` a million take 100 MB, which forked workers copy page by page, and a second.

    blob: (bytes,) uint8, UTF-8 with the system's escapes, a NUL between names. starts: (n + 1,) int64 into it.

    The last of `starts` is where a further name would begin, one behind the end of the blob.
    """

    blob: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        encoded = [as_bytes(name) for name in names]
        lengths = np.fromiter((len(name) + 1 for name in encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"\0".join(encoded), np.uint8), starts(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self.starts[index : index + 2].tolist()
        return self.blob[begin : end - 1].tobytes().decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        whole = self.blob.tobytes()
        return (whole[a : b - 1].decode(errors="surrogateescape") for a, b in pairwise(self.starts.tolist()))

    def take(self, indices: Sequence[int] | np.ndarray) -> Names:
        """Those names, in that order."""
        return Names.of(self[int(index)] for index in indices)

    def digest(self) -> str:
        """sha256 of the names, with a NUL between them."""
        return hashlib.sha256(self.blob.data).hexdigest()


def starts(lengths: np.ndarray) -> np.ndarray:
    """(n,) to (n + 1,) int64: where each begins that lies behind the others, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
