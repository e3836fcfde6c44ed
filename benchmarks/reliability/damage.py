"""Damaged files of lewel's own: each must be named in the refusal or the warning, and never be used.

    python benchmarks/reliability/damage.py --work DIR [--files 400] [--seed 0] [--out docs/data]

Checkpoints of a real run (the newest damaged, the older one whole), the index of images, the index of shards, and the
shards: bits flipped, cut, lengthened, a block zeroed or moved, emptied, deleted, swapped with an older file.
"""

from __future__ import annotations

import logging
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import campaign
import sources
from started import preload

Kind = Callable[[random.Random, bytes, bytes], bytes | None]  # whole, of the same name elsewhere -> damaged; None: gone


def flipped(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    at = chance.randrange(len(whole))
    return whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :]


def flipped_in_the_head(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    return flipped(chance, whole[:256], b"") + whole[256:]


def cut(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    return whole[: chance.randrange(len(whole))]


def lengthened(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    return whole + chance.randbytes(chance.choice((1, 8, 4096)))


def zeroed(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    """A block of the disk, which held other bytes."""
    places = [at for at in range(0, len(whole), 512) if any(whole[at : at + 512])]
    at = chance.choice(places)
    return whole[:at] + bytes(len(whole[at : at + 512])) + whole[at + 512 :]


def moved(chance: random.Random, whole: bytes, _: bytes) -> bytes:
    """Two bytes that differ, exchanged."""
    first = chance.randrange(len(whole))
    second = next(at % len(whole) for at in range(first, first + len(whole)) if whole[at % len(whole)] != whole[first])
    changed = bytearray(whole)
    changed[first], changed[second] = changed[second], changed[first]
    return bytes(changed)


def empty(_: random.Random, __: bytes, ___: bytes) -> bytes:
    return b""


def deleted(_: random.Random, __: bytes, ___: bytes) -> None:
    return None


def swapped(chance: random.Random, whole: bytes, other: bytes) -> bytes:
    """The file of an older checkpoint; where they are equal, or there is none, a bit is flipped."""
    return other if other and other != whole else flipped(chance, whole, other)


KINDS: tuple[Kind, ...] = (flipped, flipped_in_the_head, cut, lengthened, zeroed, moved, empty, deleted, swapped)


class Log(logging.Handler):
    """What lewel warns of."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()}\n"


class Target:
    """A file to damage, and what must come of reading it.

    read: returns "" when the damage was named and nothing of it used, else what is wrong.   other: an older file.
    """

    def __init__(self, name: str, path: Path, read: Callable[[Path], str], other: Path | None = None):
        self.name, self.path, self.read = name, path, read
        self.whole = path.read_bytes()
        self.other = other.read_bytes() if other is not None else b""

    def damage(self, chance: random.Random) -> tuple[str, str]:
        """(kind, what is wrong)."""
        kind = chance.choice(KINDS)
        content = kind(chance, self.whole, self.other)
        try:
            if content is None:
                self.path.unlink()
            else:
                self.path.write_bytes(content)
            return kind.__name__, self.read(self.path)
        finally:
            self.path.write_bytes(self.whole)


def checkpoints(run: Path) -> list[Target]:
    from lewel.engine import checkpoint

    older, newest = sorted((run / "checkpoints").glob("step-*"))
    log = Log()
    logging.getLogger("lewel").addHandler(log)

    def read(path: Path) -> str:
        log.text = ""
        found = checkpoint.latest(run)
        if found != older:
            return f"{found} was used"
        return "" if str(path) in log.text else f"not named: {log.text.strip()!r}"

    paths = sorted(newest.iterdir())
    return [Target("checkpoint", path, read, older / path.name) for path in paths]


def images(index_file: Path, shards: Path) -> list[Target]:
    from lewel.data import index

    found = [Target(name, path, _used) for name, path in (
        ("index", index_file), ("shards' index", shards / index.OF_SHARDS),
    )]  # fmt: skip
    pixels = _pixels(shards)
    tars = sorted(shards.glob("train-*.tar"))
    return found + [Target("shard", path, lambda tar: _used_of_shard(shards, tar, pixels)) for path in tars]


def _used(path: Path) -> str:
    """An index is refused as a whole, by its name or its folder's."""
    from lewel.data import index
    from lewel.errors import UserError

    try:
        index.read(str(path))
    except UserError as error:
        return "" if str(path) in str(error) else f"not named: {error}"
    return "it was used"


def _pixels(shards: Path) -> list[Any]:
    """Of each image; None of one that is refused by the name of its shard."""
    from lewel.data.decode import DecodeError
    from lewel.data.images import open_images

    opened, found = open_images(str(shards)), list[Any]()
    for number in range(len(opened)):
        try:
            found.append(opened.rgbx(number))
        except DecodeError as error:
            found.append(str(error))
    return found


def _used_of_shard(shards: Path, tar: Path, whole: list[Any]) -> str:
    """A shard is refused, or its damaged images are; bytes between the images are not read, and may differ."""
    from lewel.errors import UserError

    try:
        found = _pixels(shards)
    except UserError as error:
        return "" if tar.name in str(error) else f"not named: {error}"
    for number, (pixels, before) in enumerate(zip(found, whole, strict=True)):
        if isinstance(pixels, str):
            if tar.name not in pixels:
                return f"not named: {pixels}"
        elif (pixels != before).any():
            return f"image {number} has other pixels"
    return "" if any(isinstance(pixels, str) for pixels in found) else UNREAD


UNREAD = "unread"  # the damage is between the images: nothing of it is used, and nothing has to be said


def main() -> int:
    parser = campaign.flags(__doc__)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    preload()
    made, copies = sources.make(given.work.absolute()), given.work.absolute() / "damaged"
    shutil.rmtree(copies, ignore_errors=True)
    shutil.copytree(made["trained"], copies / "run")
    shutil.copytree(made["shards"], copies / "shards")
    shutil.copy(made["index"], copies)
    groups = [checkpoints(copies / "run"), images(copies / made["index"].name, copies / "shards")]
    chance, progress = random.Random(given.seed), campaign.Progress(given.files, "damaged files")
    outcomes: dict[str, Counter[str]] = {}
    faults = []
    for number in range(given.files):
        target = chance.choice(groups[number % 4 == 3])  # three of four are of checkpoints
        kind, wrong = target.damage(chance)
        outcome = {"": "named", UNREAD: "between the images of a shard"}.get(wrong, "fault")
        outcomes.setdefault(target.name, Counter())[outcome] += 1
        if outcome == "fault":
            faults.append(f"file {number}, {target.path.name}, {kind}: {wrong}")
            print(f"  {faults[-1]}", flush=True)
        progress.at(number + 1)
    print(f"{given.files} damaged files, {len(faults)} faults: {outcomes}")
    campaign.write("damage", given.out, {"files": given.files, "outcomes": outcomes, "faults": faults})
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
