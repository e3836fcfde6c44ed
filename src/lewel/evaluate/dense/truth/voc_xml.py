"""PASCAL VOC's annotations of one image: its size, and the names and boxes of its objects."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lewel.errors import UserError
from lewel.evaluate.dense.truth import small_files
from lewel.evaluate.dense.truth.json_fields import flag, side
from lewel.evaluate.dense.truth.objects import Box
from lewel.terminal import printable

MOST = 2**23  # bytes: some ten thousand objects; as elements they take ten times the memory


class Object(NamedTuple):
    """box: edges from 0 on.  from_zero: whether it begins at a pixel 0, which VOC has not."""

    name: str
    box: Box
    difficult: bool
    from_zero: bool


class Marked(NamedTuple):
    """size: (width, height); None where the file has none that can be."""

    size: tuple[int, int] | None
    objects: list[Object]


def read(path: Path) -> Marked:
    """Raises UserError for a file that cannot be read, is not VOC's XML, or declares entities."""
    content = small_files.content(path, MOST)
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_Builder()))
        if root.tag != "annotation":
            raise ValueError(f"it is {printable(root.tag)[:40]!r}, not an annotation of VOC")
        objects = [_object(number, each) for number, each in enumerate(root.findall("object"), 1)]
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"--data: {printable(path)} cannot be read: {' '.join(str(error).split())}") from error
    width, height = (_side(root.findtext(f"size/{name}")) for name in ("width", "height"))
    return Marked((width, height) if width and height else None, objects)


class _Builder(ElementTree.TreeBuilder):
    """Of elements. A few bytes of entities can stand for gigabytes of text, and VOC's files have none."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE, which may declare entities; remove it")


def _object(number: int, element: Element) -> Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError(f"object {number} has no name")
    told = f"object {number} ({printable(name)[:40]})"
    corners = element.find("bndbox")
    if corners is None:
        raise ValueError(f"{told} has no bndbox")
    x0, y0, x1, y1 = (_number(told, corners, side) for side in ("xmin", "ymin", "xmax", "ymax"))
    given = (element.findtext("difficult") or "0").strip() or "0"
    difficult = flag(given)
    if difficult is None:
        raise ValueError(f"{told} has difficult {printable(given)[:40]!r}; it is 0 or 1")
    return Object(name, (x0 - 1, y0 - 1, x1, y1), difficult, x0 == 0 or y0 == 0)


def _number(told: str, corners: Element, name: str) -> float:
    """Of a corner: a pixel's number, from 1 on, the last one included."""
    given = corners.findtext(name)
    if given is None:
        raise ValueError(f"{told} has no {name}")
    try:
        return float(given)
    except ValueError:
        raise ValueError(f"{told} has {name} {printable(given.strip())[:40]!r}, which is no number") from None


def _side(given: str | None) -> int | None:
    try:
        return side(float(given or ""))
    except ValueError:
        return None
