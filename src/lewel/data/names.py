"""A million names in two arrays: as `str` they take 100 MB, which forked workers copy page by page, and a second."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, eq=False)
class Names:
    """blob: (bytes,) uint8, UTF-8 with the system's escapes, a NUL between names. starts: (n + 1,) int64 into it.

    The last of `starts` is where a further name would begin, one behind the end of the blob.
    """

    blob: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        encoded = [name.encode(errors="surrogateescape") for name in names]
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
