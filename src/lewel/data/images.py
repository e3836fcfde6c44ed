"""Which images there are: a folder at any depth, a list file, or CIFAR-10's binary files, with labels or without."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lewel.data.decode import decode, printable, rgbx
from lewel.errors import UserError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
Split = Literal["train", "val"]
_SPLITS: dict[str, tuple[str, ...]] = {"train": ("train",), "val": ("val", "test")}

_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@runtime_checkable
class Images(Protocol):
    """What a data set is to everything above."""

    @property
    def labels(self) -> np.ndarray | None:
        """(n,) int64 class numbers, or None where the images have none."""
        ...

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes."""
        ...

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """A printable name of the image."""
        ...

    def read(self, index: int) -> Image.Image:
        """The image as RGB. Raises `decode.DecodeError`."""
        ...

    def rgbx(self, index: int) -> np.ndarray:
        """As `read`, (h, w, 4) uint8: red, green, blue and a byte of padding a pixel."""
        ...


@dataclass(frozen=True)
class Files:
    """Image files under `root`, by relative names; strings, because a million `Path`s take half a gigabyte."""

    root: str
    names: list[str]
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        return printable(os.path.join(self.root, self.names[index]))

    def read(self, index: int) -> Image.Image:
        return decode(os.path.join(self.root, self.names[index]))

    def rgbx(self, index: int) -> np.ndarray:
        return rgbx(os.path.join(self.root, self.names[index]))


@dataclass(frozen=True)
class Pixels:
    """Images that lie in memory: `pixels` (n, h, w, 3) uint8."""

    root: str
    pixels: np.ndarray
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def path(self, index: int) -> str:
        return f"{printable(self.root)}#{index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def rgbx(self, index: int) -> np.ndarray:
        return np.array(self.read(index).convert("RGBX"))


def open_images(path: str | os.PathLike[str], split: Split | None = None) -> Files | Pixels:
    """Find the images of `path`: a folder, a .txt or .csv list, or a folder with CIFAR-10's binary files.

    A folder is divided when it has train/ and val/ (or test/), CIFAR-10 when it has test_batch.bin. split: "train" or
    "val" take that part, and need it; None takes the part for training where there is one, else everything.
    Labels are the first folder below the (part of the) folder, when all images lie in two such folders or more, or a
    list's second column. The order is that of the names' bytes, the same on every machine.
    Raises UserError where there is nothing to read.
    """
    where = Path(path)
    if where.is_file():
        return _listed(where, split)
    if not where.is_dir():
        raise UserError(f"--data {printable(where)}: no such folder or list file")
    if (cifar := _cifar_folder(where)) is not None:
        return _cifar(cifar, split)
    return _folder(where, split)


def relabelled(images: Files | Pixels, classes: list[str]) -> Files | Pixels:
    """The same images with the class numbers of another part of the data: a part may lack some of the other's classes.

    Raises UserError for a class that is not in `classes`.
    """
    assert images.labels is not None and images.classes is not None
    if unknown := sorted(set(images.classes) - set(classes)):
        raise UserError(
            f"{printable(images.root)} has {len(unknown)} classes that the images for training lack: "
            f"{', '.join(unknown[:5])}; both parts need the same names"
        )
    numbers = np.array([classes.index(name) for name in images.classes], dtype=np.int64)
    return replace(images, labels=numbers[images.labels], classes=classes)


def evenly(images: Files | Pixels, most: int) -> Files | Pixels:
    """At most so many of the images, evenly over their order, and so over the classes of a folder."""
    if len(images) <= most:
        return images
    chosen = np.linspace(0, len(images) - 1, most).round().astype(np.int64)
    labels = None if images.labels is None else images.labels[chosen]
    if isinstance(images, Files):
        return replace(images, names=[images.names[i] for i in chosen], labels=labels)
    return replace(images, pixels=images.pixels[chosen], labels=labels)


def is_divided(path: str | os.PathLike[str]) -> bool:
    """Whether `open_images(path, "val")` has something to open."""
    where = Path(path)
    if (cifar := _cifar_folder(where)) is not None:
        return (cifar / "test_batch.bin").is_file()
    return _part(where, "train") is not None and _part(where, "val") is not None


# -- folders


def _part(root: Path, split: Split) -> Path | None:
    return next((root / name for name in _SPLITS[split] if (root / name).is_dir()), None)


def _folder(root: Path, split: Split | None) -> Files:
    top: Path | None = root
    if is_divided(root):
        top = _part(root, split or "train")
    elif split is not None:
        raise UserError(f"--data {printable(root)} is not divided: it needs the folders train/ and val/ (or test/)")
    assert top is not None
    names = find(top)
    if not names:
        raise UserError(f"--data {printable(top)}: no images found; {_looked_for(top)}")
    labels, classes = _folder_labels(names)
    return Files(str(top), names, labels, classes)


def find(top: Path) -> list[str]:
    """The image files below `top`, relative, sorted. Hidden files and folders are left out.

    Links are followed, but every folder is entered once, by its own name rather than a link's where it has both:
    a link to a folder above would list the same files for ever. Raises UserError for a folder that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    names: list[str] = []
    linked = [""]
    while linked:
        pending, links = linked, []
        while pending:
            folder = pending.pop()
            status = os.stat(os.path.join(top, folder))
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            files, folders, folder_links = _entries(top, folder)
            names += files
            pending += folders
            links += folder_links
        linked = sorted(links, key=os.fsencode, reverse=True)
    return sorted(names, key=lambda name: os.fsencode(name).split(b"/"))


def _entries(top: Path, folder: str) -> tuple[list[str], list[str], list[str]]:
    """Image files, folders and links to folders in one folder, as names relative to `top`."""
    files, folders, links = [], [], []
    try:
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(name)
                elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                    files.append(name)
    except OSError as error:
        raise UserError(f"cannot read the folder {printable(os.path.join(top, folder))}: {error.strerror}") from error
    return files, folders, links


def _folder_labels(names: Sequence[str]) -> tuple[np.ndarray | None, list[str] | None]:
    if any("/" not in name for name in names):
        return None, None
    return _number([name.split("/", 1)[0] for name in names])


def _number(values: Sequence[str]) -> tuple[np.ndarray | None, list[str] | None]:
    """Class numbers in the order of the names, by value where all are integers. One class alone tells nothing: None."""
    classes = sorted(set(values), key=os.fsencode)
    if len(classes) < 2:
        return None, None
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[value] for value in values], dtype=np.int64), [printable(name) for name in classes]


def _looked_for(top: Path) -> str:
    """What was looked for, and what lies there instead."""
    kinds: Counter[str] = Counter()
    for _, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kinds.update(os.path.splitext(name)[1].lower() or "no extension" for name in files if not name.startswith("."))
    there = ", ".join(f"{count} x {printable(kind)}" for kind, count in kinds.most_common(5)) or "no files"
    return f"looked at any depth for {' '.join(EXTENSIONS)}, and CIFAR-10's data_batch_*.bin; found {there}"


# -- lists


def _listed(path: Path, split: Split | None) -> Files:
    if path.suffix.lower() not in (".txt", ".csv"):
        raise UserError(f"--data {printable(path)}: needs a folder, or a list of paths that ends in .txt or .csv")
    if split is not None:
        raise UserError(f"--data {printable(path)}: a list is not divided into train and val; give a folder that is")
    # Names may be any bytes; what is not UTF-8 survives as the system's own escapes, as in every name from the disk.
    text = os.fsdecode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # splitlines() would also split at rare characters
    rows = _csv_rows(path, lines) if path.suffix.lower() == ".csv" else [[line] for line in lines if line.strip()]
    if not rows:
        raise UserError(f"--data {printable(path)}: no images found; the list is empty, expected a path on each line")
    first = os.path.join(path.parent, rows[0][0])
    if not os.path.exists(first):
        raise UserError(
            f"--data {printable(path)}: the first entry, {printable(first)}, is not there; "
            "paths are taken relative to the list's folder"
        )
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise UserError(f"--data {printable(path)}: every row needs a label, or none")
    labels, classes = _number([row[1] for row in rows]) if widths == {2} else (None, None)
    return Files(str(path.parent), [row[0] for row in rows], labels, classes)


def _csv_rows(path: Path, lines: Iterable[str]) -> list[list[str]]:
    """path[,label] rows; a header that begins with "path" is dropped, further columns are refused."""
    try:
        rows = [row[:1] if row[1:] == [""] else row for row in csv.reader(lines, strict=True)]
    except csv.Error as error:
        raise UserError(f"--data {printable(path)}: not a CSV file: {error}") from error
    rows = [row for row in rows if row]
    if rows and rows[0][0].strip().lower() == "path":
        rows = rows[1:]
    if any(len(row) > 2 for row in rows):
        raise UserError(f"--data {printable(path)}: rows must be path or path,label; put names with commas in quotes")
    return rows


# -- CIFAR-10


def _cifar_folder(where: Path) -> Path | None:
    """The folder of CIFAR-10's binary version, or None. Raises UserError for its pickled version."""
    for folder in (where, where / "cifar-10-batches-bin"):
        if any(file.is_file() for file in folder.glob("data_batch_*.bin")) or (folder / "test_batch.bin").is_file():
            return folder
    for folder in (where, where / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            raise UserError(
                f"--data {printable(where)} is CIFAR-10's Python version: pickles can run code and are not read; "
                "use its binary version (data_batch_*.bin, test_batch.bin)"
            )
    return None


def _cifar(folder: Path, split: Split | None) -> Pixels:
    files = [folder / "test_batch.bin"] if split == "val" else sorted(folder.glob("data_batch_*.bin"))
    if not files or not all(file.is_file() for file in files):
        wanted = "test_batch.bin" if split == "val" else "data_batch_*.bin"
        raise UserError(f"--data {printable(folder)}: no images found; looked for CIFAR-10's {wanted}")
    records = np.concatenate([_cifar_records(file) for file in files])
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    name = files[0].name if split == "val" else "data_batch_*.bin"
    labels = records[:, 0].astype(np.int64)
    return Pixels(str(folder / name), np.ascontiguousarray(pixels), labels, list(_CIFAR_CLASSES))


def _cifar_records(file: Path) -> np.ndarray:
    size = file.stat().st_size
    if size == 0 or size % _CIFAR_RECORD:
        raise UserError(f"{printable(file)}: not a CIFAR-10 binary file: {size} bytes, no multiple of {_CIFAR_RECORD}")
    records = np.fromfile(file, dtype=np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() >= len(_CIFAR_CLASSES):
        raise UserError(f"{printable(file)}: not a CIFAR-10 binary file: it has labels above 9")
    return records
