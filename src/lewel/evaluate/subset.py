"""The few labelled images of a semi-supervised protocol: those that a list names, or a stratified share."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from lewel.data import text_files
from lewel.data.augment import SUBSET, uniforms
from lewel.data.cifar import Pixels
from lewel.data.classes import composed
from lewel.data.decode import first_few, printable
from lewel.data.names import Names
from lewel.data.objects import Objects
from lewel.errors import UserError
from lewel.evaluate.parts import Labelled

TOLERANCE = 1.5  # how many times more, or fewer, images than its share a subset may have


class Subset(NamedTuple):
    """Some of the images for training, in their order, and the facts for results.json."""

    images: Labelled
    facts: dict[str, Any]


def by_list(train: Labelled, file: Path) -> Subset:
    """The images that the list names, one a line: a file's name, CLASS/name, or more of its path from train/ on.

    Raises UserError for a list that names an image that is not there, or that several have, or none of some class.
    """
    entries, content = _entries(file)
    if isinstance(train.images, Pixels | Objects):
        raise UserError(
            f"--subset {printable(file)}: the images of {printable(train.images.root)} have no names; "
            "leave the list out: a stratified share is taken"
        )
    chosen = train.subset(_matched(train.images.names, entries, file))
    if without := [name for name, count in zip(train.names, chosen.counts(), strict=True) if count == 0]:
        raise UserError(
            f"--subset {printable(file)} names no image of {len(without)} of the {len(train.names)} classes: "
            f"{first_few(without)}; every class needs one"
        )
    source = {"list": printable(file.name), "sha256": hashlib.sha256(content).hexdigest()}
    return Subset(chosen, source | chosen.facts() | {"of": len(train)})


def by_share(train: Labelled, share: float, seed: int) -> Subset:
    """That share of each class in whole images, at least one. With one seed the smaller share is in the larger."""
    if not 0 < share <= 1:
        raise UserError(f"--share {share:g}: must be above 0 and at most 1")
    labels = _labels(train)
    order = np.lexsort((uniforms(len(train), SUBSET, seed, 0, 0), labels))
    sizes = np.bincount(labels, minlength=len(train.names))
    rank = np.arange(len(train)) - np.repeat(sizes.cumsum() - sizes, sizes)  # within the class
    wanted = np.maximum(np.floor(share * sizes + 0.5), 1)
    chosen = train.subset(np.sort(order[rank < wanted[labels[order]]]))
    return Subset(chosen, {"share": share, "seed": seed} | chosen.facts() | {"of": len(train)})


def check_share(subset: Labelled, train: Labelled, share: float) -> None:
    """Raises UserError for a subset that is not that share of `train`, or one image a class where that is more.

    A list of 10 % must not be called 1 %; lists are not exact either, hence `TOLERANCE`.
    """
    wanted = float(np.maximum(share * np.bincount(_labels(train)), 1).sum())
    least, most = wanted / TOLERANCE, wanted * TOLERANCE
    if not least <= len(subset) <= most:
        raise UserError(
            f"--subset has {len(subset)} of {len(train)} images ({100 * len(subset) / len(train):.3g} %), but this "
            f"protocol takes {100 * share:g} % ({math.ceil(least)} to {math.floor(most)} images); "
            "give the list of this share, or take the protocol of that one"
        )


def _labels(train: Labelled) -> Int64[np.ndarray, " n"]:
    if train.is_multilabel:
        raise UserError("a subset is drawn by class, and these images have attributes; give images with classes")
    return train.targets


# -- lists


def _entries(file: Path) -> tuple[list[str], bytes]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"--subset {printable(file)}: {(error.strerror or str(error)).lower()}") from error
    lines = text_files.lines(text_files.decoded(content, f"--subset {printable(file)}").content)
    entries = [entry for line in lines if (entry := line.removeprefix("./")).strip()]
    if not entries:
        raise UserError(f"--subset {printable(file)} is empty; it needs the name of an image on each line")
    if repeated := [entry for entry, count in Counter(entries).items() if count > 1]:
        raise UserError(
            f"--subset {printable(file)} names {len(repeated)} images more than once: {first_few(repeated)}"
        )
    return entries, content


def _matched(names: Names, entries: list[str], file: Path) -> Int64[np.ndarray, " chosen"]:
    """The images that the entries name, in the images' order: an entry is the end of "train/NAME", from a slash on."""
    found = _places(names, entries, str)
    if any(not entry.isascii() and not there for entry, there in found.items()):  # é in another Unicode form
        found = {**_places(names, entries, composed), **{entry: there for entry, there in found.items() if there}}
    if missing := [entry for entry, there in found.items() if not there]:
        raise UserError(
            f"--subset {printable(file)}: {len(missing)} of its {len(entries)} names do not exist in the images for "
            f"training: {first_few(missing)}; give a list of these images, or leave out the lines of others"
        )
    if unclear := [entry for entry, there in found.items() if len(there) > 1]:
        raise UserError(
            f"--subset {printable(file)}: {len(unclear)} of its names are of several images: {first_few(unclear)}; "
            "give them as CLASS/name"
        )
    return np.unique([there[0] for there in found.values()])


def _places(names: Names, entries: list[str], form: Callable[[str], str]) -> dict[str, list[int]]:
    """The images of each entry, compared in that form."""
    forms = {form(entry): list[int]() for entry in entries}
    depths = sorted({entry.count("/") for entry in entries})
    for index, name in enumerate(names):
        pieces = form("train/" + name).rsplit("/", depths[-1] + 1)
        for depth in depths:
            end = "/".join(pieces[-depth - 1 :]) if depth < len(pieces) else None
            if end in forms:
                forms[end].append(index)
    return {entry: forms[form(entry)] for entry in entries}
