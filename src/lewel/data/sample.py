"""What lies behind the names of images: a digest of a few of them, cheap for a million."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lewel.data.cifar import Pixels
from lewel.data.decode import printable
from lewel.data.images import Source, spread

SIZES, CONTENTS = 256, 64  # images whose bytes are counted, and read
_THREADS, _CHUNK = 8, 256  # threads wait for a disk


def contents(images: Source) -> dict[str, int]:
    """CRC-32 of CONTENTS images, evenly, by their printable names; none of Pixels, whose digest is over all pixels.

    0 stands for a file that cannot be read.
    """
    if isinstance(images, Pixels):
        return {}
    chosen = spread(len(images), CONTENTS)
    names = [printable(images.names[int(index)]) for index in chosen]
    return dict(zip(names, images.crcs(chosen).tolist(), strict=True))


def digest_of_all(images: Source) -> str:
    """sha256 of the CRC-32 of every image. Reads every file; of shards, whose index has them, nothing."""
    if isinstance(images, Pixels):
        return images.digest()
    with ThreadPoolExecutor(_THREADS) as pool:
        pieces = np.array_split(np.arange(len(images)), max(1, len(images) // _CHUNK))
        crcs = np.concatenate(list(pool.map(images.crcs, pieces)))
    return hashlib.sha256(crcs.astype("<i8").tobytes()).hexdigest()


def digest(images: Source) -> str:
    """sha256 of the sizes of SIZES images and the CRC-32 of CONTENTS of them, evenly; of Pixels, of all pixels.

    The same for files and for the shards that they were packed into. A file that cannot be read counts as empty.
    """
    if isinstance(images, Pixels):
        return images.digest()
    sizes, crcs = images.sizes(spread(len(images), SIZES)), images.crcs(spread(len(images), CONTENTS))
    return hashlib.sha256(np.concatenate([sizes, crcs]).astype("<i8").tobytes()).hexdigest()
