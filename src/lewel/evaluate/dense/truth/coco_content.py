"""COCO's JSON: which images, categories and objects a file has, and which objects belong to which image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lewel.errors import UserError
from lewel.evaluate.dense.truth import small_files
from lewel.evaluate.dense.truth.json_fields import Id, is_id, shown, text
from lewel.evaluate.dense.truth.objects import check_not_empty
from lewel.terminal import printable

LISTS = ("images", "annotations", "categories")
Entry = dict[str, Any]


class Content(NamedTuple):
    """images: by id.  classes: names, in the order of `numbers`.  numbers: of the categories, by id.

    objects: of each image, by its id, in the file's order.  entries: the same, all together.
    """

    images: dict[Id, Entry]
    classes: tuple[str, ...]
    numbers: dict[Id, int]
    objects: dict[Id, list[Entry]]
    entries: list[Entry]
    remarks: tuple[str, ...]


def read(path: Path) -> Content:
    """Categories are numbered from 0 on, in the order of their ids; images stay in order.

    Raises UserError for a file that is not COCO's, for ids, names and files that are there twice, and for objects of
    categories or images that are not in it.
    """
    lists = _lists(path)
    check_not_empty(lists["images"], printable(path))
    try:
        images, categories = _by_id(lists["images"], "images"), _by_id(lists["categories"], "categories")
        _check_files(images)
        ids = _sorted(list(categories))
        classes = tuple(_class_name(id, categories[id]) for id in ids)
        if twice := _twice(classes):
            which = " and ".join(shown(id) for id, name in zip(ids, classes, strict=True) if name == twice[0])
            raise ValueError(f"categories {which} are both named {printable(twice[0])}; give each a name of its own")
        objects: dict[Id, list[Entry]] = {id: [] for id in images}
        _check_objects(lists["annotations"], {"category_id": categories, "image_id": images})
    except ValueError as error:
        raise UserError(f"--data: {printable(path)}: {error}") from error
    for entry in lists["annotations"]:
        objects[entry["image_id"]].append(entry)
    given = [entry["id"] for entry in lists["annotations"] if is_id(entry.get("id"))]
    again = len(given) - len(set(given))
    remarks = (f"{again} objects have an id that another has too; all are kept",) if again else ()
    numbers = {id: number for number, id in enumerate(ids)}
    return Content(images, classes, numbers, objects, lists["annotations"], remarks)


def called(entry: Any, entries: Sequence[Any], what: str) -> str:
    """ "object 6", by its id, or "object number 5 of the file" where it has none."""
    if isinstance(entry, dict) and is_id(entry.get("id")):
        return f"{what} {shown(entry['id'])}"
    return f"{what} number {next(place for place, each in enumerate(entries, 1) if each is entry)} of the file"


def _lists(path: Path) -> dict[str, list[Any]]:
    content = small_files.content(path, most=None)
    try:
        found = json.loads(content)
    except UnicodeDecodeError as error:
        byte = content[error.start] if error.start < len(content) else 0
        raise UserError(
            f"--data: {printable(path)} is not UTF-8 (byte 0x{byte:02x} at {error.start:,}); save it as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--data: {printable(path)} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(
            f"--data: {printable(path)} is not COCO's: it is a {type(found).__name__} of JSON, "
            f"not an object with the lists {', '.join(LISTS)}"
        )
    if wrong := [name for name in LISTS if not isinstance(found.get(name), list)]:
        raise UserError(
            f"--data: {printable(path)} is not COCO's: images, annotations and categories are needed, each a list; "
            f"{wrong[0]} is {'missing' if wrong[0] not in found else shown(found[wrong[0]])}"
        )
    return {name: found[name] for name in LISTS}


def _by_id(entries: list[Any], name: str) -> dict[Id, Entry]:
    one = {"images": "image", "categories": "category"}[name]
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{called(entry, entries, one)} is {shown(entry)}, no object of JSON")
        if not is_id(entry.get("id")):
            given = f"has the id {shown(entry['id'])}; ids are numbers or text" if "id" in entry else "has no id"
            raise ValueError(f"{called(entry, entries, one)} {given}")
    if twice := _twice([entry["id"] for entry in entries]):
        raise ValueError(f"{len(twice)} ids of {name} twice, such as {shown(twice[0])}; each is needed once")
    return {entry["id"]: entry for entry in entries}


def _check_files(images: dict[Id, Entry]) -> None:
    for id, image in images.items():
        if not isinstance(image.get("file_name"), str) or text(image["file_name"]) is None:
            given = f"the file_name {shown(image['file_name'])}" if "file_name" in image else "no file_name"
            raise ValueError(f"image {shown(id)} has {given}; the name of its file is needed")
    if twice := _twice([image["file_name"] for image in images.values()]):
        ids = [shown(id) for id, image in images.items() if image["file_name"] == twice[0]]
        raise ValueError(
            f"images {' and '.join(ids[:3])} have the same file_name, {printable(twice[0])}; give it one image with "
            "all its objects"
        )


def _class_name(id: Id, category: Entry) -> str:
    found = text(category.get("name"))
    if found is None:
        given = f"the name {shown(category['name'])}" if "name" in category else "no name"
        raise ValueError(f"category {shown(id)} has {given}; text is needed")
    return found


def _sorted(ids: list[Id]) -> list[Id]:
    if {isinstance(id, str) for id in ids} == {True, False}:
        raise ValueError("some ids of categories are numbers and others text; all need the same")
    return sorted(ids)  # pyright: ignore[reportArgumentType]  # all of one kind


def _check_objects(entries: list[Any], known: dict[str, dict[Id, Entry]]) -> None:
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{called(entry, entries, 'object')} is {shown(entry)}, no object of JSON")
    for what, allowed in known.items():
        wrong = [entry for entry in entries if not is_id(entry.get(what)) or entry[what] not in allowed]
        if not wrong:
            continue
        if what not in wrong[0]:
            raise ValueError(f"{called(wrong[0], entries, 'object')} has no {what}")
        first = ", ".join(dict.fromkeys(shown(entry.get(what)) for entry in wrong[:100]))[:60]
        of = {"category_id": "categories", "image_id": "images"}[what]
        raise ValueError(
            f"{len(wrong)} objects have a {what} of {first}, which are not among its {len(allowed)} {of}; the first is "
            f"{called(wrong[0], entries, 'object')}"
        )


def _twice(values: Sequence[Any]) -> list[Any]:
    """Those that are there more than once."""
    if len(set(values)) == len(values):
        return []
    return [value for value, count in Counter(values).items() if count > 1]
