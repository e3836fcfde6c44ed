"""`skipped.jsonl`: what could not be read, and when that is too much."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from lewel import reading
from lewel.data.decode import DecodeError, printable
from lewel.data.names import from_os
from lewel.errors import UserError
from lewel.lines import Lines
from lewel.shapes import Skip


def skip_of(error: DecodeError) -> Skip:
    """The image that the error is of, by its name byte for byte, and why it cannot be read."""
    return Skip(from_os(os.fspath(error.path)), error.reason)


class SkipLog:
    """`skipped.jsonl`: every unreadable image once, over all starts of a run; too many since this start end it.

    path: the file, read if it is there. total: images in the data set. most: share of them that may be unreadable.
    """

    def __init__(self, path: str | os.PathLike[str], total: int, most: float = 0.01) -> None:
        self.path, self.total, self.most = Path(path), total, most
        self.reasons: dict[str, str] = {}
        self.met: dict[str, str] = {}  # since this start: those of earlier ones may be mended
        self._file = Lines(self.path)
        if self.path.exists():
            self._reload()

    def _reload(self) -> None:
        try:
            text = reading.read_bytes(self.path).decode("utf-8", "replace")
        except OSError as error:
            raise UserError(f"{printable(self.path)} cannot be read: {reading.first_line(error)}; remove it") from error
        for line in text.split("\n"):
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # a killed run may leave half a line
                entry = json.loads(line)
                self.reasons[entry["path"]] = entry["reason"]

    def add(self, skips: Iterable[Skip]) -> list[Skip]:
        """Note the images that are new, and return those. Raises UserError above the share."""
        skips = list(skips)
        self.met |= {skip.path: skip.reason for skip in skips}
        new = list({skip.path: skip for skip in skips if skip.path not in self.reasons}.values())
        if new:
            self.reasons.update(new)
            self._file.add(*(json.dumps(skip._asdict(), ensure_ascii=False) for skip in new))
        if len(self.met) > self.most * self.total:
            raise UserError(self._too_many())
        return new

    def _too_many(self) -> str:
        met = [Skip(*each) for each in self.met.items()]
        return f"{too_many(met, self.total, self.most)} (all: {printable(self.path)})"


def too_many(skips: Sequence[Skip], total: int, most: float, of: str = "images") -> str:
    """How many cannot be read, the first of them, and what to do."""
    enough = min(1.0, math.ceil(100 * len(skips) / max(1, total) + 1) / 100)
    return (
        f"{len(skips):,} of {total:,} {of} cannot be read, more than {100 * most:g} %: {first_skips(skips)}; repair "
        "them and go on with --change-images, remove them and give another --out, or allow more, such as "
        f"--max-unreadable {enough:g}"
    )


def first_skips(skips: Sequence[Skip], most: int = 3) -> str:
    """The first paths with their reasons, for a message."""
    more = "; ..." if len(skips) > most else ""
    return "; ".join(f"{printable(path)}: {reason}" for path, reason in skips[:most]) + more
