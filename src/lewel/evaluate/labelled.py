"""Labelled images in two parts, from whatever lies at --data: they are divided already, or a seeded split does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lewel.data import images as sources
from lewel.data.cifar import Pixels
from lewel.data.decode import printable
from lewel.data.images import Source
from lewel.data.lists import LABEL, PATH, SPLIT, Table, read_table
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

    split: "given" takes the parts that are there; "auto" makes them, val with `val_share` of the images, stratified by
    class, by `seed`. group_by: a column of the .csv; images with the same value go to the same part.
    Raises UserError for data without labels, with one class only, or not divided as `split` says.
    """
    table = read_table(Path(data)) if _is_csv(data) else None
    groups = _groups(data, table, split, group_by)
    faces = open_faces(Path(data)) if Path(data).is_dir() else None
    is_divided = faces is not None or sources.is_divided(data)
    if split == "auto" and is_divided:
        raise UserError(f"--split auto: --data {printable(data)} is divided already; leave the flag out")
    if faces is not None:
        return faces
    if is_divided:
        return _given(data, table)
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
    if missing := set(val.names) - set(train.names):
        raise UserError(missing_in_train(printable(data), [name for name in val.names if name in missing]))
    same = sources.relabelled(val.images, list(train.names))
    assert same.labels is not None
    how: dict[str, Any] = {"how": "given"}
    if table is not None:
        used = {"train", table.part_name("val")}
        unused = {name: count for name, count in Counter(table.columns[SPLIT]).items() if name not in used}
        how |= {"val": table.part_name("val"), "unused": unused}
    return divided(printable(data), train, Labelled(same, same.labels, train.names), how, layout=_layout(data, same))


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
        raise UserError(_no_labels(data, images))
    return Labelled(images, images.labels, tuple(images.classes))


def _no_labels(data: str, images: Source) -> str:
    """Images of one class alone have no labels either, which is another mistake than having none."""
    names = [] if isinstance(images, Pixels) else list(images.names)
    folders = {name.partition("/")[0] if "/" in name else "" for name in names}
    if _is_csv(data) and (labels := set(read_table(Path(data)).columns.get(LABEL, ()))):
        one = labels.pop() if len(labels) == 1 else "in one of its parts"
    elif len(folders) == 1 and folders != {""}:
        one = f"the folder {folders.pop()}"
    else:
        return f"--data {printable(data)}: no labels in {printable(images.root)}; {LAYOUTS}"
    return f"--data {printable(data)}: only one class, {printable(one)}; an evaluation needs two or more"


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


def _is_csv(data: str) -> bool:
    return data.lower().endswith(".csv") and Path(data).is_file()


def _layout(data: str, images: Source) -> str:
    if isinstance(images, Pixels):
        return "CIFAR-10"
    if isinstance(images, Shards):
        return "shards"
    if Path(data).is_file():
        return "list" if _is_csv(data) else "index"
    return "class folders"
