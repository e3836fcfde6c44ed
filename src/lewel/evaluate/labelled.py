"""Labelled images in two parts, from whatever lies at --data: they are divided already, or a seeded split does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lewel.data import images as sources
from lewel.data.cifar import Pixels
from lewel.data.classes import matched
from lewel.data.csv_rows import LABEL, PATH, SPLIT
from lewel.data.decode import printable
from lewel.data.folder import is_divided as is_divided_folder
from lewel.data.folder import part_names
from lewel.data.images import Source
from lewel.data.lists import TABLES, Table, read_table
from lewel.data.objects import Objects
from lewel.data.shards import Shards
from lewel.errors import UserError, nearest
from lewel.evaluate.faces import open_faces
from lewel.evaluate.parts import Divided, Labelled, divided, missing_in_train
from lewel.evaluate.split import held_out

LAYOUTS = (
    "labels are read from train/CLASS/... and val/CLASS/..., from CLASS/... (with --split auto), from a .csv of "
    "path,label, an index or shards of these, CIFAR-10's binary files, and CelebA, RAF-DB or AffectNet as they come"
)


def open_divided(
    data: str, split: Literal["given", "auto"], group_by: str | None, val_share: float, seed: int
) -> Divided:
    """The labelled images of `data` in two parts, numbered alike.

    split: "given" takes the parts that are there; "auto" makes them where there are none, val with `val_share` of the
    images, stratified by class, by `seed`.
    group_by: a column of the .csv; images with the same value go to the same part.
    Raises UserError for data without labels, with one class only, or not divided as `split` says.
    """
    table = read_table(Path(data)) if _is_table(data) else None
    groups = _groups(data, table, split, group_by)
    faces = open_faces(Path(data)) if Path(data).is_dir() else None
    is_divided = faces is not None or sources.is_divided(data)
    if is_divided and group_by is not None:
        raise UserError(f"--group-by {group_by}: --data {printable(data)} is divided already and keeps its parts")
    if is_divided:
        found = faces if faces is not None else _given(data, table)
        kept = f"--split auto: {printable(data)} is divided already, its parts are taken and --val-share is not used"
        return found if split == "given" else replace(found, notes=(*found.notes, kept))
    images = _labelled(data, sources.open_images(data))
    if split == "given":
        raise UserError(
            f"--data {printable(data)} is not divided: give train/CLASS and val/CLASS (a .csv: a split column with "
            "train and val), or --split auto for a seeded split of it"
        )
    return _auto(data, images, groups, group_by, val_share, seed)


def _given(data: str, table: Table | None) -> Divided:
    train, val = (sources.open_images(data, part) for part in ("train", "val"))
    train, val = _labelled(data, train), _labelled(data, val)
    unknown = np.flatnonzero(matched(val.names, train.names) < 0)
    if len(unknown):
        raise UserError(missing_in_train(printable(data), [val.names[number] for number in unknown]))
    same = sources.relabelled(val.images, list(train.names))
    assert same.labels is not None
    how = {"how": "given"} | _parts_of(data, table)
    return divided(printable(data), train, Labelled(same, same.labels, train.names), how, layout=_layout(data, same))


def _parts_of(data: str, table: Table | None) -> dict[str, Any]:
    """What the parts are called, and what is left of the data, for results.json."""
    if table is not None and (parts := table.parts()) is not None:
        counts = Counter(table.columns[SPLIT])
        return {"train": parts.train, "val": parts.val, "unused": {name: counts[name] for name in parts.unused}}
    if Path(data).is_dir() and is_divided_folder(Path(data)):
        parts = part_names(Path(data))
        return {"train": parts.train, "val": parts.val, "unused": list(parts.unused)}
    return {}


def _auto(
    data: str, images: Labelled, groups: np.ndarray | None, group_by: str | None, share: float, seed: int
) -> Divided:
    if not 0 < share < 1:
        raise UserError(f"--val-share {share:g}: must be between 0 and 1")
    chosen = held_out(images.targets, groups, share, seed)
    if not chosen.any():
        raise UserError(
            f"--split auto: no image of --data {printable(data)} can go to val, as some of every class stay in train; "
            f"give more {'groups' if group_by else 'images'} of a class, or a larger --val-share than {share:g}"
        )
    how: dict[str, Any] = {"how": "auto", "seed": seed, "val_share": share}
    if groups is not None:
        how |= {"group_by": group_by, "groups": int(groups.max()) + 1, "groups_of_val": len(np.unique(groups[chosen]))}
    train, val = (images.subset(np.flatnonzero(where)) for where in (~chosen, chosen))
    return divided(printable(data), train, val, how, layout=_layout(data, images.images))


def _labelled(data: str, images: Source) -> Labelled:
    if images.labels is None or images.classes is None:
        why = images.unlabelled
        advice = "an evaluation needs two or more" if why.startswith("only one class") else LAYOUTS
        raise UserError(f"--data {printable(data)}: {why}; {advice}")
    return Labelled(images, images.labels, tuple(images.classes))


def _groups(data: str, table: Table | None, split: str, group_by: str | None) -> np.ndarray | None:
    """(n,) int64: the number of each row's value in that column, in the order of the values."""
    if group_by is None:
        return None
    if split != "auto":
        raise UserError(f"--group-by {group_by} is for --split auto; data that is divided keeps its parts")
    if table is None:
        raise UserError(f"--group-by {group_by}: needs --data LIST.csv, with a header that names this column")
    name = group_by.strip().lower()
    columns = [column for column in table.columns if column not in (PATH, LABEL, SPLIT)]
    if name not in columns:
        there = f"there are {', '.join(columns)}" if columns else "its header names no other than path, label and split"
        raise UserError(
            f"--group-by {group_by}: no such column in {printable(data)}; {printable(there)}{nearest(name, columns)}"
        )
    values = table.columns[name]
    if empty := values.count(""):
        raise UserError(f"--group-by {group_by}: {empty} rows of {printable(data)} have nothing in this column")
    return _numbered(values)


def _numbered(values: Sequence[str]) -> np.ndarray:
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([numbers[value] for value in values], np.int64)


def _is_table(data: str) -> bool:
    return data.lower().endswith(TABLES) and Path(data).is_file()


def _layout(data: str, images: Source) -> str:
    if isinstance(images, Pixels):
        return "CIFAR-10"
    if isinstance(images, Objects):
        return "data in memory"
    if isinstance(images, Shards):
        return "shards"
    if Path(data).is_file():
        return "list" if _is_table(data) else "index"
    return "class folders"
