"""Which part of a data set a name stands for: train, training, Train2017; val, valid, validation, dev; test, testing.

One place for all tools' names: of folders, of the values of a list's split column, of annotation files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from lewel.data.decode import printable
from lewel.errors import UserError

Split = Literal["train", "val"]
Part = Literal["train", "val", "test"]

WORDS: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "tests", "testing", "tst"),
}
_PART: dict[str, Part] = {word: part for part, words in WORDS.items() for word in words}
# What stands beside the word: train_set, images_val, test-data, val_256. Years and other numbers are dropped before.
_BESIDE = frozenset({"set", "split", "part", "data", "dataset", "image", "images", "img", "imgs", "folder", "ilsvrc"})
_LIKELY = re.compile("|".join(sorted({word[:3] for word in _PART})), re.IGNORECASE)  # skips nearly all other names
_PIECE = re.compile(r"[^\W\d_]+")
_FUSED = re.compile(rf"({'|'.join(sorted(_PART, key=len, reverse=True))})(set|data|split|images|imgs)")
OF_NO_PART = frozenset({"unlabeled", "unlabelled", "extra"})  # beside the parts, and no class either
ALLOWED = "train (training), val (valid, validation, dev) and test (testing), in any case, with a year or without"


class Named(NamedTuple):
    """The names of the parts of a data set.

    train, val: what is learned from, and measured on.  unused: the names of a test part that stands beside val.
    """

    train: str
    val: str
    unused: tuple[str, ...]


def part_of(name: str) -> Part | None:
    """The part that the name stands for; None for any other name."""
    if len(name) > 64 or not _LIKELY.search(name):
        return None
    pieces = [piece for piece in _PIECE.findall(name.lower()) if piece not in _BESIDE]
    if len(pieces) != 1:
        return None
    fused = _FUSED.fullmatch(pieces[0])
    return _PART.get(fused[1] if fused else pieces[0])


def by_part(names: Iterable[str]) -> dict[Part, list[str]]:
    """The names that stand for each part, in order."""
    found: dict[Part, list[str]] = {part: [] for part in WORDS}
    for name in sorted(names):
        if (part := part_of(name)) is not None:
            found[part].append(name)
    return found


def is_divided(names: Iterable[str]) -> bool:
    """Whether there is a part for training, and one to measure on."""
    found = by_part(names)
    return bool(found["train"] and (found["val"] or found["test"]))


def train_name(names: Iterable[str], where: str) -> str:
    """The name of the part for training. Raises UserError as `named`."""
    return the_only(by_part(names)["train"], "training", where)


def named(names: Iterable[str], where: str) -> Named:
    """The names of the parts; that of test is taken for val only where there is no val.

    where: what holds them, such as "--data d", for an error. Raises UserError where two names stand for one part.
    """
    found = by_part(names)
    train = the_only(found["train"], "training", where)
    if found["val"]:
        return Named(train, the_only(found["val"], "validation", where), tuple(found["test"]))
    return Named(train, the_only(found["test"], "tests", where), ())


def are_parts(names: Iterable[str]) -> bool:
    """Whether all names are those of parts: they are no classes then, and telling train from valid is no result."""
    names = list(names)
    return any(map(part_of, names)) and all(part_of(name) or name.lower() in OF_NO_PART for name in names)


def said(chosen: Named) -> str:
    """In words what is measured on where that could surprise: a test part, or one beside which test is left alone."""
    if chosen.unused:
        return f"{printable(chosen.val)} is measured on; {', '.join(map(printable, chosen.unused))} is not used"
    return f"{printable(chosen.val)} is measured on, as there is no val" if part_of(chosen.val) == "test" else ""


def the_only(names: list[str], what: str, where: str) -> str:
    """The name, if it is one. Raises UserError for several. what: the part, and where: what holds it, for an error."""
    if len(names) != 1:
        several = " and ".join(map(printable, names))
        raise UserError(f"{where}: {several} are all names of the part for {what}; rename all but one, or move them")
    return names[0]
