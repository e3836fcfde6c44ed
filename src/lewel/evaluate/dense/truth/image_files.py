"""Where the images of annotations lie, by names that are not always spelled as the files are; and whether they fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lewel.data.decode import DecodeError, Header, header
from lewel.data.scan import EXTENSIONS
from lewel.errors import UserError
from lewel.shapes import Skip
from lewel.terminal import printable

LOOKED_AT = 2000  # headers: a third of a millisecond each; those of all of COCO would take a minute
_THREADS = 8  # they wait for a disk


class Files:
    """The files of folders, each folder listed once: a question for each of 100,000 images is slow on networks."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}
        self._spelled: dict[str, dict[str, list[str]]] = {}

    def has(self, path: Path) -> bool:
        return path.name in self._listed(str(path.parent))

    def find(self, path: Path, extensions: Sequence[str] = EXTENSIONS) -> Path | None:
        """The file; else the one file of that name in another case, or with another extension of these.

        Raises ValueError where there are several.
        """
        if self.has(path):
            return path
        alike = self._by_stem(str(path.parent)).get(path.stem.casefold(), [])
        allowed = [name for name in alike if os.path.splitext(name)[1].lower() in extensions]
        for kept in (
            [name for name in allowed if name.casefold() == path.name.casefold()],
            [name for name in allowed if os.path.splitext(name)[0] == path.stem],
            allowed,
        ):
            if len(kept) == 1:
                return path.with_name(kept[0])
            if kept:
                several = " and ".join(map(printable, kept[:3]))
                raise ValueError(f"{printable(path.name)} may be {several} in {printable(path.parent)}; keep one")
        return None

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def _by_stem(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._spelled:
            found = self._spelled[folder] = {}
            for name in sorted(self._listed(folder)):
                found.setdefault(os.path.splitext(name)[0].casefold(), []).append(name)
        return self._spelled[folder]


def located(files: Files, folder: Path, root: Path, name: str) -> Path | None:
    """The image that a file calls `name`: in the folder or, where the name has the folder too, below the root.

    Windows' separators are read as such, and folders before the name left out, where there is no such file otherwise.
    Raises ValueError where several files may be meant.
    """
    plain = name.replace("\\", "/")
    for path in (folder / name, folder / plain, root / plain, folder / plain.rsplit("/", 1)[-1]):
        if (found := files.find(path)) is not None:
            return found
    return None


class Image(NamedTuple):
    """size: (width, height) that the annotations say; None where the image's own was taken."""

    path: Path
    size: tuple[int, int] | None


def check(images: Sequence[Image], files: Files, source: str) -> Iterator[str]:
    """Look at the headers of up to `LOOKED_AT` of the images; yields sentences on what was found.

    Raises UserError where none of the images can be used.
    """
    missing = [image for image in images if not files.has(image.path)]
    if len(missing) == len(images):
        raise UserError(f"--data: of the {len(images)} images of {source} none is there, such as {_name(missing[0])}")
    if missing:
        yield (
            f"{len(missing)} of {len(images)} images are not there, such as {_name(missing[0])}: "
            "replaced in training, left out of the numbers"
        )
    there = [image for image in images if image.size is not None and files.has(image.path)]
    chosen = there[:: max(-(-len(there) // LOOKED_AT), 1)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_look, chosen))
    wrong = [each for each in found if isinstance(each, Skip)]
    if wrong and len(wrong) == len(chosen) and len(there) + len(missing) == len(images):
        raise UserError(f"--data: no image of {source} can be used; {wrong[0].path}: {wrong[0].reason}")
    of = f"of {len(chosen)} images" if len(chosen) == len(there) else f"of {len(chosen)} images that were looked at"
    if wrong:
        yield f"{len(wrong)} {of} cannot be used: {wrong[0].path}: {wrong[0].reason}"
    for kind, count in Counter(each for each in found if isinstance(each, str)).items():
        yield f"{count} {of} {kind}"


def is_upright(path: Path, found: Header, size: tuple[int, int]) -> bool:
    """Whether annotations for this size are for the image as it is shown, and not as it is stored.

    Raises DecodeError where they are for neither.
    """
    if found.size == size:
        return True
    if found.is_sideways and found.size[::-1] == size:
        return False
    there, told = f"{found.size[0]} x {found.size[1]}", f"{size[0]} x {size[1]}"
    raise DecodeError(path, f"it is {there}, its annotations are for {told}")


def _look(image: Image) -> Skip | str | None:
    """Why an image cannot be used, or what has to be said of it."""
    assert image.size is not None
    try:
        found = header(image.path)
        if not is_upright(image.path, found, image.size):
            return "are turned by their EXIF block, but not their annotations: read as they are stored"
    except DecodeError as error:
        return Skip(printable(error.path), error.reason)
    if found.turn is not None and not (found.is_sideways and image.size[0] != image.size[1]):
        return (
            "are turned by their EXIF block, and their size does not show whether annotations are too: taken as upright"
        )
    return None


def _name(image: Image) -> str:
    return printable(image.path)
