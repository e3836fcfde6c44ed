"""Some classes of a data set, by a list of their names: ImageNet-100 is 100 classes of ImageNet, in CMC's list.

A list's identity is the sha256 of its names, sorted and joined by line feeds, whatever their order in the file. Several
lists go by the name ImageNet-100; the one that LEWEL's ablations use is CMC's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lewel.data import text_files
from lewel.data.classes import matched, number
from lewel.data.decode import first_few, printable
from lewel.data.folder import Files
from lewel.errors import UserError

IMAGENET_100 = "d61d354b64beb3ce2c2c9cf04a874298362dc9fcd589e15ee34c5e4592145746"
IMAGES = {"train": 126_689, "val": 5_000}  # of ImageNet-100


@dataclass(frozen=True)
class ClassList:
    """names: as in the file, in its order."""

    file: str
    names: tuple[str, ...]

    def digest(self) -> str:
        text = "\n".join(sorted(self.names))
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def is_imagenet_100(self) -> bool:
        return self.digest() == IMAGENET_100


def read_classes(path: Path) -> ClassList:
    """A class on each line. Raises UserError for a list that cannot be read, is empty, or names a class twice."""
    try:
        text = text_files.decoded(path.read_bytes(), f"--classes {printable(path)}").content
    except OSError as error:
        raise UserError(f"--classes {printable(path)} cannot be read: {error.strerror or error}") from error
    names = [line.strip() for line in text_files.lines(text) if line.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--classes {printable(path)}: {printable(twice[0])} is there twice; name every class once")
    if len(names) < 2:
        raise UserError(f"--classes {printable(path)}: {len(names)} classes; name two or more, one on each line")
    return ClassList(printable(path), tuple(names))


def chosen(parts: Mapping[str, Files], classes: ClassList) -> dict[str, Files]:
    """The images of these classes, in their order, the classes numbered in the order of their names.

    Raises UserError for classes that a part does not have.
    """
    return {part: _of_part(part, files, classes) for part, files in parts.items()}


def _of_part(part: str, files: Files, classes: ClassList) -> Files:
    if files.labels is None or files.classes is None:
        raise UserError(f"{printable(files.root)} has no classes; a folder for each is needed, two or more")
    kept = matched(classes.names, files.classes)
    if missing := sorted(name for name, number in zip(classes.names, kept.tolist(), strict=True) if number < 0):
        raise UserError(
            f"--classes {classes.file}: {len(missing)} of its {len(classes.names)} classes are not in "
            f"{printable(files.root)}{'' if part == 'images' else f' ({part})'}: {first_few(missing)}"
        )
    some = files.subset(np.flatnonzero(np.isin(files.labels, kept)))
    assert some.labels is not None
    labels, names, _ = number([files.classes[label] for label in some.labels])
    return Files(some.root, some.names, labels, names)


def told(parts: Mapping[str, Files], classes: ClassList) -> Iterator[str]:
    """Sentences for the user: which list this is, and whether the counts are ImageNet-100's where the list is."""
    known = classes.is_imagenet_100()
    which = "ImageNet-100 (CMC's list)" if known else "not ImageNet-100, another list"
    yield f"{classes.file}: {which}, {len(classes.names)} classes, sha256 {classes.digest()}"
    for part, files in parts.items():
        if known and part in IMAGES and len(files) != IMAGES[part]:
            yield f"{part}: {len(files):,} images, where ImageNet-100 has {IMAGES[part]:,}"
