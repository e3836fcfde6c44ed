"""Which faces are for training and which for tests, in the layouts that landmarks come in.

    ROOT/train.txt, and ROOT/{common,challenging,test,val}.txt     lists of paths relative to ROOT
    ROOT/afw, ROOT/helen/{trainset,testset}, ROOT/lfpw/{trainset,testset}, ROOT/ibug     300W as it comes
    ROOT/train, and ROOT/test or ROOT/val                          folders, at any depth

Beside each image NAME.jpg or .png lies NAME.pts. Of several lists for tests each is a subset with its name, as are the
common and the challenging part of 300W, and the first folders below ROOT/test where all images lie in two or more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from lewel.data.decode import printable
from lewel.data.folder import find
from lewel.errors import UserError
from lewel.evaluate.dense.truth.objects import check_not_empty
from lewel.evaluate.dense.truth.pts import SUFFIX
from lewel.shapes import Skip

Part = Literal["train", "val"]

LISTS: dict[Part, tuple[str, ...]] = {"train": ("train",), "val": ("common", "challenging", "test", "val")}
FOLDERS: dict[Part, tuple[str, ...]] = {"train": ("train",), "val": ("test", "val")}
OF_300W: dict[Part, dict[str, tuple[str, ...]]] = {
    "train": {"train": ("afw", "helen/trainset", "lfpw/trainset")},
    "val": {"common": ("helen/testset", "lfpw/testset"), "challenging": ("ibug",)},
}
FULL = "full"  # the subset of all faces
IN_300W: dict[Part, dict[str, int]] = {"train": {FULL: 3148}, "val": {"common": 554, "challenging": 135}}  # faces


class Listed(NamedTuple):
    """The images of a part.

    split: what it is, for people.  names: relative to the root.  subsets: names of images by the subset's name; none
    where there is only the whole.  skipped: points without an image.  expected: faces by subset, `FULL` for all of
    them, where known.
    """

    split: str
    names: tuple[str, ...]
    subsets: dict[str, frozenset[str]]
    skipped: tuple[Skip, ...]
    expected: dict[str, int]


def listed(root: Path, part: Part) -> Listed:
    """By the first layout that is there. Raises UserError: none is, or the part is missing, empty or named twice."""
    layouts: tuple[Callable[[Path, Part], Listed | None], ...] = (_lists, _of_300w, _folders)
    for layout in layouts:
        if (found := layout(root, part)) is not None:
            return found
    raise UserError(
        f"--data {printable(root)} has no faces with landmarks: give train and test folders with NAME.pts beside each "
        "image, 300W's afw, helen, lfpw and ibug, or lists train.txt and test.txt of images"
    )


def _lists(root: Path, part: Part) -> Listed | None:
    there = [name for names in LISTS.values() for name in names if (root / f"{name}.txt").is_file()]
    if not there:
        return None
    wanted = [name for name in LISTS[part] if name in there]
    if not wanted:
        needed = " or ".join(f"{name}.txt" for name in LISTS[part])
        found = ", ".join(f"{name}.txt" for name in there)
        raise UserError(f"--data {printable(root)}: {needed} is missing; there is {found}")
    return _together(" + ".join(wanted), {name: _lines(root / f"{name}.txt") for name in wanted})


def _lines(file: Path) -> list[str]:
    names = [line.strip() for line in os.fsdecode(file.read_bytes()).splitlines() if line.strip()]
    check_not_empty(names, printable(file))
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise UserError(f"--data: {printable(file)} names {printable(twice)} twice")
    return names


def _of_300w(root: Path, part: Part) -> Listed | None:
    if not any((root / name).is_dir() for name in ("afw", "helen", "lfpw", "ibug")):
        return None
    subsets, skipped = dict[str, list[str]](), list[Skip]()
    for subset, folders in OF_300W[part].items():
        subsets[subset] = []
        for folder in folders:
            if not (root / folder).is_dir():
                raise UserError(f"--data {printable(root)}: {folder} of 300W is missing; {subset} needs it")
            names, faults = _inside(root, folder)
            subsets[subset] += names
            skipped += faults
    found = _together(f"300W {' + '.join(subsets)}", subsets)
    return found._replace(skipped=tuple(skipped), expected=IN_300W[part])


def _folders(root: Path, part: Part) -> Listed | None:
    there = [name for names in FOLDERS.values() for name in names if (root / name).is_dir()]
    if not there:
        return None
    wanted = next((name for name in FOLDERS[part] if name in there), None)
    if wanted is None:
        needed = " or ".join(f"{name}/" for name in FOLDERS[part])
        raise UserError(f"--data {printable(root)}: {needed} is missing; there is {', '.join(there)}/")
    names, skipped = _inside(root, wanted)
    below = [name.split("/")[1:] for name in names]
    subsets = {wanted: names}
    if part == "val" and all(len(parts) > 1 for parts in below):
        subsets = {
            first: [name for name, parts in zip(names, below, strict=True) if parts[0] == first]
            for first in sorted({parts[0] for parts in below})
        }
    return _together(wanted, subsets)._replace(skipped=tuple(skipped))


def _inside(root: Path, folder: str) -> tuple[list[str], list[Skip]]:
    """The images of a folder, and the points there that have none."""
    images = find(root / folder)
    check_not_empty(images, printable(root / folder))
    stems = {os.path.splitext(name)[0] for name in images}
    points = sorted(path.relative_to(root / folder) for path in (root / folder).rglob(f"*{SUFFIX}"))
    visible = [path for path in points if not any(each.startswith(".") for each in path.parts)]
    alone = [path for path in visible if path.with_suffix("").as_posix() not in stems]
    skipped = [Skip(printable(root / folder / path), "its image is missing") for path in alone]
    return [f"{folder}/{name}" for name in images], skipped


def _together(split: str, subsets: dict[str, list[str]]) -> Listed:
    names = tuple(dict.fromkeys(name for each in subsets.values() for name in each))
    kept = {name: frozenset(each) for name, each in subsets.items()} if len(subsets) > 1 else {}
    return Listed(split, names, kept, (), {})
