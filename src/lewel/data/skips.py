"""`skipped.jsonl`: what could not be read, and when that is too much."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from lewel.data.decode import printable
from lewel.errors import UserError
from lewel.shapes import Skip


class SkipLog:
    """`skipped.jsonl`: every unreadable image once, over all starts of a run; too many since this start end it.

    path: the file, read if it is there. total: images in the data set.
    """

    LIMIT = 0.01

    def __init__(self, path: str | os.PathLike[str], total: int) -> None:
        self.path, self.total = Path(path), total
        self.reasons: dict[str, str] = {}
        self.met: dict[str, str] = {}  # since this start: those of earlier ones may be mended
        if self.path.exists():
            self._reload()

    def _reload(self) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a run that was killed may leave half a line
                entry = json.loads(line)
                self.reasons[entry["path"]] = entry["reason"]
        if text and not text.endswith("\n"):
            self._append("\n")

    def add(self, skips: Iterable[Skip]) -> list[Skip]:
        """Note the images that are new, and return those. Raises UserError above 1 % of the data set."""
        skips = list(skips)
        self.met |= {skip.path: skip.reason for skip in skips}
        new = list({skip.path: skip for skip in skips if skip.path not in self.reasons}.values())
        if new:
            self.reasons.update(new)
            self._append("".join(json.dumps(skip._asdict(), ensure_ascii=False) + "\n" for skip in new))
        if len(self.met) > self.LIMIT * self.total:
            raise UserError(self._too_many())
        return new

    def _append(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _too_many(self) -> str:
        first = "; ".join(f"{path}: {reason}" for path, reason in islice(self.met.items(), 3))
        return (
            f"{len(self.met)} of {self.total} images cannot be read, more than {self.LIMIT:.0%}: {first}"
            f"{'; ...' if len(self.met) > 3 else ''} (all in {printable(self.path)}); "
            "repair them and go on, or remove them and give another --run"
        )
