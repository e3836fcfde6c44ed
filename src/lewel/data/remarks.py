"""What a user should know of images that are read: only a first frame is used, or 16 bits hold few values.

`decode` notes it where it happens, in any process; data workers send their notes along with their batches
(`lewel.data.serving`), and the main process tells each kind in one line, with the count and three names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from lewel.data.rgb import Range

log = logging.getLogger(__name__)

_MOST = 100_000  # images of a kind that are counted
_DARK = 2**14  # values below it are dark in 16 bits, as those of 12 bits are


class Note(NamedTuple):
    """Of an image: "frames", and how many, or "dark", and its smallest and largest value."""

    kind: str
    path: str
    numbers: tuple[int, ...]


_found: dict[str, dict[str, tuple[int, ...]]] = {"frames": {}, "dark": {}}
_told = dict.fromkeys(_found, 0)
_unsent: list[Note] = []


def forget() -> None:
    """Begin anew: a command tells what it meets itself, also where one before it in this process met the same."""
    for kind, found in _found.items():
        found.clear()
        _told[kind] = 0
    _unsent.clear()


def knows(kind: str, path: str) -> bool:
    return path in _found[kind]


def frames(path: str, count: int) -> None:
    """The image has so many frames or pages."""
    if count > 1:
        add([Note("frames", path, (count,))])


def values(path: str, found: Range) -> None:
    """The image has 16 bits a channel, and such values."""
    if 0 < found.high < _DARK:
        add([Note("dark", path, tuple(found))])


def add(notes: Sequence[Note]) -> None:
    """Keep what is new."""
    for note in notes:
        found = _found[note.kind]
        if note.path not in found and len(found) < _MOST:
            found[note.path] = note.numbers
            _unsent.append(note)


def take() -> list[Note]:
    """What is new since the last call: for a worker to send."""
    new = list(_unsent)
    _unsent.clear()
    return new


def tell() -> None:
    """Log a line for each kind of which there is more than was told."""
    take()
    for kind, sentence in _SENTENCES.items():
        if len(_found[kind]) > _told[kind]:
            _told[kind] = len(_found[kind])
            log.warning("%s", sentence(_found[kind]))


def _of_frames(found: dict[str, tuple[int, ...]]) -> str:
    names = [f"{path} ({count})" for path, (count,) in islice(found.items(), 3)]
    what = "1 image has" if len(found) == 1 else f"{len(found):,} images have"
    return f"{what} several frames or pages; the first is taken: {_listed(names, len(found))}"


def _of_dark(found: dict[str, tuple[int, ...]]) -> str:
    low, high = min(low for low, _ in found.values()), max(high for _, high in found.values())
    bits, what = high.bit_length(), "1 image" if len(found) == 1 else f"{len(found):,} images"
    return (
        f"{what} of 16 bits a channel with values from {low:,} to {high:,} only ({bits} bits): 65,535 is white, so "
        f"they look nearly black; multiply the values by {2 ** (16 - bits):,}: "
        f"{_listed(list(islice(found, 3)), len(found))}"
    )


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")


_SENTENCES: dict[str, Callable[[dict[str, tuple[int, ...]]], str]] = {"frames": _of_frames, "dark": _of_dark}
