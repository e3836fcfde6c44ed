"""Images of val that are also in train, and those that val has twice: the numbers stand, with a mark.

What counts is what is learned from and measured on: the same path, a link, a hard link, or equal bytes under another
name. Images that pretraining saw are no leakage: it had no labels. Copies that were saved anew are not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lewel.console import Console
from lewel.data import contents
from lewel.data.cifar import Pixels
from lewel.data.contents import Contents
from lewel.data.decode import printable
from lewel.data.folder import Files
from lewel.data.objects import Objects
from lewel.data.shards import Shards
from lewel.evaluate.parts import Divided, Labelled

FACTS = "leakage"  # among the facts of the data
NAMED = 3  # images


@runtime_checkable
class Dense(Protocol):
    """A part of a dense task: its images are files."""

    def __len__(self) -> int: ...

    def image_file(self, index: int) -> Path: ...


def marked(parts: Mapping[int, Divided[Any]], console: Console) -> dict[int, Divided[Any]]:
    """The data of each seed, with the images that are in both parts among its facts."""
    known = dict[tuple[int, int], Divided[Any]]()  # seeds share a split that is given
    with console.status("comparing train with val"):
        for each in parts.values():
            key = (id(each.train), id(each.val))
            if key not in known:
                known[key] = replace(each, facts={**each.facts, FACTS: facts(each.train, each.val)})
    return {seed: known[id(each.train), id(each.val)] for seed, each in parts.items()}


def facts(train: Any, val: Any) -> dict[str, Any]:
    """For results.json: how many images of val are in train, how many repeat another one of val; the first of each."""
    of_train, of_val = contents.equal(_contents(train), _contents(val))
    inside = np.flatnonzero(np.isin(of_val, of_train))
    origin = dict(zip(of_train[::-1].tolist(), range(len(of_train) - 1, -1, -1), strict=True))
    repeated = np.setdiff1d(np.arange(len(of_val)), np.unique(of_val, return_index=True)[1])
    return {
        "val_in_train": len(inside),
        "of": len(of_val),
        "first": [
            {"val": _name(val, index), "train": _name(train, origin[int(of_val[index])])}
            for index in inside[:NAMED].tolist()
        ],
        "repeated_in_val": len(repeated),
        "first_repeated": [_name(val, index) for index in repeated[:NAMED].tolist()],
    }


def sentences(data: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a reader of the numbers must know; nothing where the parts are apart.

    data: facts, of each seed where each has a split of its own: the one with most is told.
    """
    found, told = [each[FACTS] for each in data if FACTS in each], list[str]()
    leaked, repeated = (
        max(found, key=itemgetter(count), default=None) for count in ("val_in_train", "repeated_in_val")
    )
    if leaked and (count := leaked["val_in_train"]):
        names = _listed([each["val"] for each in leaked["first"]], count)
        told.append(
            f"Leakage: {count:,} of {leaked['of']:,} images of val are also in train, the same file or the same bytes: "
            f"{names}. The numbers are too good; take these images out of one part."
        )
    if repeated and (count := repeated["repeated_in_val"]):
        of, names = repeated["of"], _listed(repeated["first_repeated"], count)
        told.append(f"{count:,} of {of:,} images of val repeat another image of val, and count again: {names}.")
    return told


def _listed(names: list[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")


def _contents(part: Any) -> Contents:
    if isinstance(part, Labelled):
        return _contents(part.images)
    if isinstance(part, Pixels):
        return contents.of_pixels(part)
    if isinstance(part, Objects):
        return contents.unknown(len(part))
    if isinstance(part, Shards):
        return contents.of_shards(part)
    if isinstance(part, Files):
        return contents.of_files(len(part), part.file)
    assert isinstance(part, Dense)
    return contents.of_files(len(part), part.image_file)


def _name(part: Any, index: int) -> str:
    return printable(part.images.path(index) if isinstance(part, Labelled) else part.image_file(index))
