"""neighbours.html: a row for each query, with the images that each encoder finds nearest; all in one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from lewel.data import pillow
from lewel.data.images import Source
from lewel.evaluate.neighbours import Column, Found
from lewel.visualize import template

THUMBNAIL, QUERY = 64, 128  # pixels a side
QUALITY = 70  # of their JPEGs: a page of 32 x 3 x 8 images has 2 MB


class Thumbnail(NamedTuple):
    """same: whether it is of the query's class; None without labels."""

    source: str
    title: str
    same: bool | None = None


class Row(NamedTuple):
    query: Thumbnail
    groups: list[list[Thumbnail]]


class Share(NamedTuple):
    """How many neighbours are of the query's class, in words."""

    label: str
    value: str
    note: str


def page(found: Found) -> str:
    """The page as text. All text from files is escaped: names of folders and classes may hold anything."""
    return template.render(
        Path(__file__).with_name("neighbours.html.j2"),
        title="Nearest images",
        network=f"{found.subject.name}, {found.data.image_size} px, by the cosine of pooled features",
        source=found.subject.source,
        about=found.about,
        columns=found.columns,
        shares=shares(found),
        chance=f"{100 * found.chance():.1f} %" if shares(found) else "",
        rows=[_row(found, number) for number in range(len(found.queries))],
    )


def shares(found: Found) -> list[Share]:
    """One for each network; none without labels."""
    said = []
    for column in found.columns:
        same = found.same(column)
        if same is None:
            return []
        by_query = 100 * same.mean(axis=1)
        error = f" ± {by_query.std(ddof=1) / len(by_query) ** 0.5:.1f}" if len(by_query) > 1 else ""
        said.append(Share(column.title, f"{by_query.mean():.1f}{error} %", f"{same.sum()} of {same.size}"))
    return said


def in_words(found: Found) -> str:
    """One line for the screen."""
    of_class = ", ".join(f"{share.label.lower()} {share.value}" for share in shares(found))
    said = f"neighbours of the same class: {of_class}, by chance {100 * found.chance():.1f} %" if of_class else ""
    return said or f"{len(found.queries)} queries; without labels there is no share to tell"


def _row(found: Found, number: int) -> Row:
    return Row(_thumbnail(found.queries, number, QUERY), [_group(found, column, number) for column in found.columns])


def _group(found: Found, column: Column, number: int) -> list[Thumbnail]:
    same = found.same(column)
    return [
        _thumbnail(found.gallery, index, THUMBNAIL)._replace(
            title=f"{_title(found.gallery, index)}, cosine {cosine:.3f}",
            same=None if same is None else bool(same[number, place]),
        )
        for place, (index, cosine) in enumerate(
            zip(column.neighbours[number].tolist(), column.cosine[number].tolist(), strict=True)
        )
    ]


def _thumbnail(images: Source, index: int, side: int) -> Thumbnail:
    """The central square, never enlarged."""
    image = images.read(index)
    small = pillow.resized_center(image, min(side, *image.size))
    held = io.BytesIO()
    small.save(held, "JPEG", quality=QUALITY)
    data = base64.b64encode(held.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/jpeg;base64,{data}", _title(images, index))


def _title(images: Source, index: int) -> str:
    path = images.path(index)
    if images.labels is None or images.classes is None:
        return path
    return f"{images.classes[int(images.labels[index])]}: {path}"
