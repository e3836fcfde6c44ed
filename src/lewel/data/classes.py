"""Classes by their names: numbers for them, and why there are none."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from lewel.data import splits
from lewel.data.decode import first_few, printable
from lewel.data.names import sort_key


class Labels(NamedTuple):
    """numbers: (n,) int64, of the classes, in the order of their names; None where there are no classes.

    why: there are none, in words; else ''.
    """

    numbers: Int64[np.ndarray, " n"] | None
    classes: list[str] | None
    why: str


def number(values: Sequence[str]) -> Labels:
    """Class numbers in the order of the names, by value where all are integers. One class alone tells nothing: none.

    Nor do the names of parts, such as train and valid: telling them apart is no result.
    """
    classes = sorted(set(values), key=sort_key)
    if why := why_none(classes):
        return Labels(None, None, why)
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    numbers = {name: number for number, name in enumerate(classes)}
    return Labels(np.array([numbers[value] for value in values], dtype=np.int64), classes, "")


def why_none(classes: Sequence[str]) -> str:
    """Why nothing can be measured by classes of these names; '' where something can."""
    if not classes:
        return "no labels"
    if len(classes) < 2:
        return f"only one class, {printable(classes[0])}"
    if splits.are_parts(classes):
        return f"{' and '.join(map(printable, classes))} are parts of a data set, not classes"
    return ""


def of_folders(names: Collection[str], root: str) -> Labels:
    """The first folder of each name is its class, where all names have one. root: what they are relative to."""
    if why := why_no_folders(names, root):
        return Labels(None, None, why)
    return number([name.split("/", 1)[0] for name in names])


def why_no_folders(names: Iterable[str], root: str) -> str:
    """Why the first folders of these names are no classes; '' where they are."""
    beside, folders, below = list[str](), set[str](), set[str]()
    for name in names:
        first, slash, rest = name.partition("/")
        if not slash:
            beside.append(name)
        elif first not in folders:
            folders.add(first)
        if len(folders) == 1 and "/" in rest:
            below.add(rest.partition("/")[0])
    if beside and folders:
        one = len(beside) == 1
        return (
            f"no labels in {printable(root)}: {len(beside):,} {'image lies' if one else 'images lie'} beside its class "
            f"folders ({first_few(beside)}); move {'it' if one else 'them'} into one of them, or away"
        )
    if not folders:
        return f"no labels in {printable(root)}"
    if len(folders) == 1:
        inside = printable(folders.pop())
        if splits.is_divided(below):
            return f"only one folder, {inside}, which is divided into parts: give --data {printable(root)}/{inside}"
        return f"only one class, the folder {inside} of {printable(root)}"
    why = why_none(sorted(folders, key=sort_key))
    return f"{why} (folders of {printable(root)})" if why else ""


def matched(names: Iterable[str], classes: Sequence[str]) -> Int64[np.ndarray, " names"]:
    """The number in `classes` of each name, -1 for one that is not there.

    A name of another Unicode form is the same where there is one such class: é is one letter, or e and an accent.
    """
    exact = {name: number for number, name in enumerate(classes)}
    forms = defaultdict[str, list[int]](list)
    for number, name in enumerate(classes):
        if not name.isascii():
            forms[composed(name)].append(number)
    found = []
    for name in names:
        alike = forms.get(composed(name), []) if name not in exact else []
        found.append(exact.get(name, alike[0] if len(alike) == 1 else -1))
    return np.array(found, np.int64)


def alike(classes: Iterable[str]) -> str:
    """A sentence on classes whose names look the same and differ in their Unicode form; '' where there are none."""
    forms = defaultdict[str, int](int)
    for name in classes:
        if not name.isascii():
            forms[composed(name)] += 1
    if several := [name for name, count in forms.items() if count > 1]:
        return f"two classes look the same and differ only in their Unicode form (NFC and NFD): {first_few(several)}"
    return ""


def composed(name: str) -> str:
    """The name with accents and letters in one (NFC), to compare by."""
    return unicodedata.normalize("NFC", name)
