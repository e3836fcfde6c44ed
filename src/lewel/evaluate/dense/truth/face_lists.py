"""Which faces are for training and which for tests, in the layouts that landmarks come in.

    ROOT/train.txt, and ROOT/{common,challenging,test,val}.txt     lists of paths relative to ROOT
    ROOT/afw, ROOT/helen/{trainset,testset}, ROOT/lfpw/{trainset,testset}, ROOT/ibug     300W as it comes
    ROOT/train, and ROOT/val or ROOT/test                          folders, at any depth, or other tools' names

Beside each image NAME.jpg or .png lies NAME.pts. Of several lists for tests each is a subset with its name, as are the
common and the challenging part of 300W, and the first folders below ROOT/val where all images lie in two or more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from lewel.data import splits
from lewel.data.folder import folders
from lewel.data.scan import find
from lewel.errors import UserError
from lewel.evaluate.dense.truth import small_files
from lewel.evaluate.dense.truth.image_files import Files
from lewel.evaluate.dense.truth.objects import check_not_empty
from lewel.evaluate.dense.truth.pts import SUFFIX
from lewel.shapes import Skip
from lewel.terminal import printable

Part = Literal["train", "val"]

LISTS: dict[Part, tuple[str, ...]] = {"train": ("train",), "val": ("common", "challenging", "test", "val")}
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


def said(root: Path) -> str:
    """In words which of several folders is measured on, where that could surprise."""
    if _which_lists(root) or _is_300w(root) or not splits.is_divided(folders(root)):
        return ""
    return splits.said(splits.named(folders(root), f"--data {printable(root)}"))


def _which_lists(root: Path) -> list[str]:
    return [name for names in LISTS.values() for name in names if (root / f"{name}.txt").is_file()]


def _is_300w(root: Path) -> bool:
    return any((root / name).is_dir() for name in ("afw", "helen", "lfpw", "ibug"))


def _lists(root: Path, part: Part) -> Listed | None:
    there = _which_lists(root)
    if not there:
        return None
    wanted = [name for name in LISTS[part] if name in there]
    if not wanted:
        needed = " or ".join(f"{name}.txt" for name in LISTS[part])
        found = ", ".join(f"{name}.txt" for name in there)
        raise UserError(f"--data {printable(root)}: {needed} is missing; there is {found}")
    files = Files()
    return _together(" + ".join(wanted), {name: _lines(root, files, root / f"{name}.txt") for name in wanted})


def _lines(root: Path, files: Files, file: Path) -> list[str]:
    names = [_image_name(root, files, line) for line in small_files.lines(file)]
    check_not_empty(names, printable(file))
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UserError(f"--data: {printable(file)} names {printable(twice)} twice")
    return names


def _image_name(root: Path, files: Files, line: str) -> str:
    """The image of a line, which may name its points, have backslashes, and no extension or another one."""
    plain = line.replace("\\", "/")
    for name in (line, plain):
        wanted = f"{name[: -len(SUFFIX)]}.jpg" if name.lower().endswith(SUFFIX) else name
        try:
            found = files.find(root / wanted)
        except ValueError as error:
            raise UserError(f"--data: {error}") from error
        if found is not None:
            return os.path.join(os.path.dirname(wanted), found.name)
    return plain


def _of_300w(root: Path, part: Part) -> Listed | None:
    if not _is_300w(root):
        return None
    subsets, skipped = dict[str, list[str]](), list[Skip]()
    for subset, inside in OF_300W[part].items():
        subsets[subset] = []
        for folder in inside:
            if not (root / folder).is_dir():
                raise UserError(f"--data {printable(root)}: {folder} of 300W is missing; {subset} needs it")
            names, faults = _inside(root, folder)
            subsets[subset] += names
            skipped += faults
    found = _together(f"300W {' + '.join(subsets)}", subsets)
    return found._replace(skipped=tuple(skipped), expected=IN_300W[part])


def _folders(root: Path, part: Part) -> Listed | None:
    there = [name for name in folders(root) if splits.part_of(name)]
    if not there:
        return None
    parts = splits.by_part(there)
    if not (candidates := parts["train"] if part == "train" else parts["val"] or parts["test"]):
        needed = "train/" if part == "train" else "test/ or val/"
        raise UserError(f"--data {printable(root)}: {needed} is missing; there is {', '.join(map(printable, there))}/")
    wanted = splits.the_only(candidates, part, f"--data {printable(root)}")
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
    images = find(root / folder).names
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
