"""Faces with their expressions or attributes, in the files that the data sets come with: CelebA, RAF-DB, AffectNet."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lewel.data import text_files
from lewel.data.decode import first_few, printable
from lewel.data.folder import Files
from lewel.data.names import Names
from lewel.data.scan import find
from lewel.errors import UserError
from lewel.evaluate.parts import Divided, Labelled, divided

RAF_DB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # numbered from 1
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")  # contempt and others follow

_EXPRESSION = 6  # column of AffectNet's lists
_END = "_exp.npy"
_THREADS, _CHUNK = 8, 512  # threads wait for a disk; a task a file would cost more than its reading


class Row(NamedTuple):
    file: str
    number: int


def open_faces(root: Path) -> Divided | None:
    """The data set that lies in the folder, recognised by its lists; None for any other folder.

    Raises UserError for lists that make no sense, and for images in them that are not there.
    """
    layouts = (_celeba, _raf_db, _affectnet, _affectnet_arrays)
    return next((found for layout in layouts if (found := layout(root)) is not None), None)


# -- CelebA


def _celeba(root: Path) -> Divided | None:
    """Attributes of aligned faces: all files in one folder, or in Anno/, Eval/ and Img/ as its page has them.

    Partition 0 is for training. Val is the test part, 2, and the validation part, 1, is unused; without 2 val is 1.
    """
    for lists, partitions, images in ((root,) * 3, (root / "Anno", root / "Eval", root / "Img")):
        listed, parted = lists / "list_attr_celeba.txt", partitions / "list_eval_partition.txt"
        if listed.is_file() and parted.is_file():
            return _celeba_of(root, listed, parted, images / "img_align_celeba")
    return None


def _celeba_of(root: Path, listed: Path, parted: Path, images: Path) -> Divided:
    files, attributes, values = _attributes(listed)
    partition = dict(_numbered(parted))
    if without := [file for file in files if file not in partition]:
        raise UserError(f"{printable(parted)} has no partition of {len(without)} listed images: {first_few(without)}")
    parts = np.array([partition[file] for file in files])
    held = 2 if (parts == 2).any() else 1

    _check_there(
        images,
        set(find(images).names),
        [file for file, number in zip(files, parts, strict=True) if number in (0, held)],
    )

    def part(number: int) -> Labelled:
        rows = np.flatnonzero(parts == number)
        return Labelled(Files(str(images), Names.of(files[row] for row in rows)), values[rows], attributes)

    split = {"how": "given", "train": "partition 0", "val": "2 (test)" if held == 2 else "1 (validation; no test part)"}
    unused = {"partition 1 (validation)": int((parts == 1).sum())} if held == 2 else {}
    return divided(str(root), part(0), part(held), split, layout="CelebA", unused=unused)


def _attributes(listed: Path) -> tuple[list[str], tuple[str, ...], np.ndarray]:
    """Files, attributes, and (n, a) uint8. A line with the count, one with the attributes, then a row a file."""
    lines = _lines(listed)
    if len(lines) < 3:
        raise UserError(f"{printable(listed)} has {len(lines)} lines; needs the count, the attributes, and rows")
    count, attributes, rows = lines[0].strip(), tuple(lines[1].split()), [line.split(None, 1) for line in lines[2:]]
    if count != str(len(rows)):
        raise UserError(f"{printable(listed)}: its first line says {printable(count)} images, and it has {len(rows)}")
    try:
        values = np.loadtxt([row[-1] for row in rows], dtype=np.int8, ndmin=2)
    except ValueError as error:
        raise UserError(
            f"{printable(listed)}: every row must be a file and -1 or 1 of each attribute: {error}"
        ) from error
    if values.shape[1] != len(attributes) or not np.isin(values, (-1, 1)).all():
        raise UserError(
            f"{printable(listed)}: every row must be a file and -1 or 1 of each of the {len(attributes)} attributes"
        )
    return [row[0] for row in rows], attributes, (values > 0).astype(np.uint8)


# -- RAF-DB


def _raf_db(root: Path) -> Divided | None:
    """The seven basic expressions of aligned faces; the name of a file, train_... or test_..., is its part."""
    for base in (root, root / "basic"):
        listed = base / "EmoLabel" / "list_patition_label.txt"  # as it is spelt there
        if listed.is_file():
            return _raf_db_of(root, listed, base / "Image" / "aligned")
    return None


def _raf_db_of(root: Path, listed: Path, images: Path) -> Divided:
    rows = _numbered(listed)
    if wrong := [row.file for row in rows if not 1 <= row.number <= len(RAF_DB)]:
        raise UserError(f"{printable(listed)}: {len(wrong)} labels are not 1 to {len(RAF_DB)}: of {first_few(wrong)}")
    if wrong := [row.file for row in rows if not row.file.startswith(("train_", "test_"))]:
        raise UserError(
            f"{printable(listed)}: {len(wrong)} names begin with neither train_ nor test_: {first_few(wrong)}"
        )

    aligned = [Row("{}_aligned{}".format(*os.path.splitext(row.file)), row.number - 1) for row in rows]
    there = set(find(images).names)
    train, val = (
        _expressions(images, there, [row for row in aligned if row.file.startswith(part)], RAF_DB)
        for part in ("train_", "test_")
    )
    return divided(str(root), train, val, {"how": "given", "val": "test"}, layout="RAF-DB basic")


# -- AffectNet: seven expressions; contempt, none, uncertain and no face are left out


def _affectnet(root: Path) -> Divided | None:
    """The manually annotated images and their two lists."""
    lists = [root / "Manually_Annotated_file_lists" / name for name in ("training.csv", "validation.csv")]
    if not all(file.is_file() for file in lists):
        return None
    nested = root / "Manually_Annotated" / "Manually_Annotated_Images"
    images = nested if nested.is_dir() else root / "Manually_Annotated_Images"
    train, val = map(_annotated, lists)
    return _affectnet_of(root, (images, train), (images, val), "AffectNet-7, lists")


def _annotated(listed: Path) -> list[Row]:
    """The file and the expression of each row, with a header or without."""
    rows = [row for row in csv.reader(_lines(listed)) if row]
    if any(len(row) <= _EXPRESSION for row in rows):
        raise UserError(
            f"{printable(listed)}: a row has fewer than {_EXPRESSION + 1} columns; the expression is the last"
        )
    rows = rows[1:] if rows and rows[0][_EXPRESSION].strip() == "expression" else rows
    return [Row(row[0], _number(row[_EXPRESSION], listed, row[0])) for row in rows]


def _affectnet_arrays(root: Path) -> Divided | None:
    """The later layout: train_set/images/N.jpg with its expression in train_set/annotations/N_exp.npy."""
    sets = [root / name for name in ("train_set", "val_set")]
    if not all((each / name).is_dir() for each in sets for name in ("images", "annotations")):
        return None
    train, val = ((each / "images", _from_arrays(each)) for each in sets)
    return _affectnet_of(root, train, val, "AffectNet-7, arrays")


def _from_arrays(part: Path) -> list[Row]:
    images = {os.path.splitext(name)[0]: name for name in find(part / "images").names}
    annotations = part / "annotations"
    labelled = {name.removesuffix(_END) for name in os.listdir(annotations) if name.endswith(_END)}
    if without := sorted(images.keys() - labelled):
        raise UserError(f"{printable(annotations)}: {len(without)} images have no N{_END}: {first_few(without)}")
    stems = [*images, *sorted(labelled - images.keys())]
    chunks = [stems[first : first + _CHUNK] for first in range(0, len(stems), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        numbers = chain.from_iterable(pool.map(partial(_from_chunk, annotations), chunks))
        return [Row(images.get(stem, f"{stem}.jpg"), number) for stem, number in zip(stems, numbers, strict=True)]


def _from_chunk(annotations: Path, stems: Sequence[str]) -> list[int]:
    numbers = []
    for stem in stems:
        with open(os.path.join(annotations, stem + _END), "rb", buffering=0) as file:
            numbers.append(_number(_scalar(file.read()), annotations, stem + _END))
    return numbers


@lru_cache(64)
def _scalar(content: bytes) -> str:
    """The one value of a .npy file, a number or the text of one; '' for another file. Hardly any two are different."""
    try:
        values = np.load(BytesIO(content), allow_pickle=False)
    except Exception:  # of a damaged header, any
        return ""
    return str(values.item()) if isinstance(values, np.ndarray) and values.size == 1 else ""


def _affectnet_of(root: Path, train: tuple[Path, list[Row]], val: tuple[Path, list[Row]], layout: str) -> Divided:
    there = {images: set(find(images).names) for images in {train[0], val[0]}}

    def part(images: Path, rows: list[Row]) -> Labelled:
        return _expressions(images, there[images], [row for row in rows if _is_kept(row)], AFFECTNET)

    left_out = {name: sum(not _is_kept(row) for row in rows) for name, (_, rows) in (("train", train), ("val", val))}
    split = {"how": "given", "val": "validation"}
    return divided(str(root), part(*train), part(*val), split, layout=layout, other_labels=left_out)


def _is_kept(row: Row) -> bool:
    return 0 <= row.number < len(AFFECTNET)


# -- what they share


def _expressions(images: Path, there: set[str], rows: Sequence[Row], names: tuple[str, ...]) -> Labelled:
    """Raises UserError for images that are not there."""
    labels = np.array([row.number for row in rows], np.int64)
    files = Files(str(images), Names.of(row.file for row in rows), labels, list(names))
    _check_there(images, there, [row.file for row in rows])
    return Labelled(files, labels, names)


def _check_there(images: Path, there: set[str], files: Sequence[str]) -> None:
    if missing := [file for file in files if file not in there]:
        raise UserError(
            f"{printable(images)}: {len(missing)} of {len(files)} listed images are not there: {first_few(missing)}"
        )


def _numbered(listed: Path) -> list[Row]:
    """Rows of a file and a number."""
    rows = [line.split() for line in _lines(listed)]
    if wrong := [" ".join(row) for row in rows if len(row) != 2]:
        raise UserError(f"{printable(listed)}: {len(wrong)} rows are not a file and a number: {first_few(wrong)}")
    return [Row(file, _number(value, listed, file)) for file, value in rows]


def _number(text: str, where: Path, file: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{printable(where)}: {printable(file)} has {printable(text)!r}, which is no number") from None


def _lines(listed: Path) -> list[str]:
    text = text_files.decoded(listed.read_bytes(), printable(listed)).content
    return [line for line in text_files.lines(text) if line.strip()]
