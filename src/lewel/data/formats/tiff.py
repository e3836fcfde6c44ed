"""TIFF: what the first directory says, how many pages there are, a copy without metadata, and strips that are short.

Read from the directories (TIFF 6.0, and BigTIFF's wider fields). Pillow's own reading of a tag can raise, and it looks
through all pages before it counts them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase

from lewel.data.formats import jpeg

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANES = (
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284,
)  # fmt: skip
ORIENTATION, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, FORMAT, JPEG_TABLES = 274, 322, 323, 324, 325, 339, 347
# What decides the pixels; everything else is left out of a copy.
_PIXELS = {
    *(254, 255, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 266, STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANES),
    *(292, 293, 317, 320, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, 332, 338, FORMAT, JPEG_TABLES, 529, 530, 532),
}
_UNPACKED, _JPEG = 1, 7
_MAGIC = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_SIZES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 7: ("B", 1), 8: ("h", 2), 13: ("I", 4), 16: ("Q", 8)}
_MOST_ENTRIES, _MOST_VALUES, MOST_PAGES = 2**16, 2**20, 10_000


@dataclass(frozen=True)
class Entry:
    """A field of a directory: where its twelve or twenty bytes lie, and the integers that it holds."""

    position: int
    kind: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Directory:
    """The first directory of a file.  start: where its count lies.  next: of the second page, 0 for none."""

    order: str
    big: bool
    start: int
    next: int
    entries: Mapping[int, Entry]

    def first(self, tag: int, otherwise: int = 0) -> int:
        """The first value of a field, or what holds where it is absent."""
        entry = self.entries.get(tag)
        return entry.values[0] if entry is not None and entry.values else otherwise

    def all(self, tag: int) -> tuple[int, ...]:
        entry = self.entries.get(tag)
        return () if entry is None else entry.values


def directory(file: BufferedIOBase) -> Directory | None:
    """The first directory of a TIFF; None for other files, and for one that cannot be read."""
    file.seek(0)
    head = file.read(16)
    if head[:4] not in _MAGIC:
        return None
    order, big = _MAGIC[head[:4]]
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
        return _directory(file, order, big, start)
    except (struct.error, OSError, OverflowError, ValueError):
        return None


def _directory(file: BufferedIOBase, order: str, big: bool, start: int) -> Directory:
    count, entry_size = min(_count(file, order, big, start), _MOST_ENTRIES), 20 if big else 12
    file.seek(start + (8 if big else 2))
    body = file.read(count * entry_size + 8)
    entries = {}
    for number in range(min(count, len(body) // entry_size)):
        raw = body[number * entry_size : (number + 1) * entry_size]
        tag, kind = struct.unpack_from(f"{order}HH", raw)
        position = start + (8 if big else 2) + number * entry_size
        entries[tag] = Entry(position, kind, _values(file, order, big, kind, raw))
    behind = body[count * entry_size :]
    following = (
        struct.unpack_from(f"{order}{'Q' if big else 'I'}", behind)[0] if len(behind) >= (8 if big else 4) else 0
    )
    return Directory(order, big, start, following, entries)


def _count(file: BufferedIOBase, order: str, big: bool, start: int) -> int:
    file.seek(start)
    return struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))[0]


def _values(file: BufferedIOBase, order: str, big: bool, kind: int, raw: bytes) -> tuple[int, ...]:
    """The integers of a field; none for other kinds, and for a field that is not all there."""
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", raw, 4)
    if kind not in _SIZES or count > _MOST_VALUES:
        return ()
    code, size = _SIZES[kind]
    inline = raw[12:] if big else raw[8:]
    if count * size > len(inline):
        file.seek(struct.unpack(f"{order}{'Q' if big else 'I'}", inline)[0])
        inline = file.read(count * size)
    return struct.unpack_from(f"{order}{count}{code}", inline) if len(inline) >= count * size else ()


def pages(file: BufferedIOBase, first: Directory) -> int:
    """How many pages there are, counted up to `MOST_PAGES`; a chain that returns to a page of before ends there."""
    seen, following = {first.start}, first.next
    try:
        while following and following not in seen and len(seen) < MOST_PAGES:
            seen.add(following)
            count = _count(file, first.order, first.big, following)
            file.seek(following + (8 + 20 * count if first.big else 2 + 12 * count))
            following = struct.unpack(f"{first.order}{'Q' if first.big else 'I'}", file.read(8 if first.big else 4))[0]
    except (struct.error, OSError, OverflowError, ValueError):
        pass
    return len(seen)


def pixels_only(content: bytes, found: Directory) -> bytes:
    """The same picture, of the first page alone, without metadata. An orientation that is a plain number stays."""
    size, head = (20, 8) if found.big else (12, 2)
    turning = found.entries.get(ORIENTATION)
    kept = _PIXELS | (
        {ORIENTATION} if turning is not None and turning.kind == 3 and len(turning.values) == 1 else set()
    )
    entries = [content[e.position : e.position + size] for tag, e in sorted(found.entries.items()) if tag in kept]
    copy = struct.pack(f"{found.order}{'Q' if found.big else 'H'}", len(entries)) + b"".join(entries)
    copy += bytes(8 if found.big else 4)  # no further page
    return content[: found.start] + copy.ljust(head, b"\0") + content[found.start + len(copy) :]


def black_is_zero(content: bytes, found: Directory) -> bytes:
    """The same values, said to grow from black to white."""
    entry = found.entries[PHOTOMETRIC]
    where = entry.position + (12 if found.big else 8)
    one = struct.pack(f"{found.order}{_SIZES[entry.kind][0]}", 1)
    return content[:where] + one + content[where + len(one) :]


def shortfall(file: BufferedIOBase, found: Directory) -> str:
    """What is missing, where there are fewer strips, or fewer bytes in them, than the picture has rows."""
    width, height = found.first(WIDTH), found.first(HEIGHT)
    planes = found.first(SAMPLES, 1) if found.first(PLANES, 1) == 2 else 1
    if found.all(TILES):
        across, down = found.first(TILE_WIDTH), found.first(TILE_HEIGHT)
        wanted = -(-width // max(1, across)) * -(-height // max(1, down)) * planes
        offsets, sizes, shape, what = found.all(TILES), found.all(TILE_BYTES), (across, down), "tiles"
    else:
        rows = min(found.first(ROWS, height) or height, height)
        wanted = -(-height // max(1, rows)) * planes
        offsets, sizes, shape, what = found.all(STRIPS), found.all(STRIP_BYTES), (width, rows), "strips"
    if len(offsets) < wanted:
        return f"{len(offsets)} {what} are there, {wanted} are needed"
    if found.first(COMPRESSION, 1) == _JPEG:
        return _short_jpeg(file, found, offsets[:wanted], sizes, shape)
    if found.first(COMPRESSION, 1) == _UNPACKED and what == "strips":
        return _short_strip(found, sizes[:wanted], shape, planes)
    return ""


def _short_strip(found: Directory, sizes: tuple[int, ...], shape: tuple[int, int], planes: int) -> str:
    """Strips that are said to hold fewer bytes than their rows need. A size of 0 is one that nobody filled in."""
    (width, rows), height = shape, found.first(HEIGHT)
    bits = sum((found.all(BITS) * found.first(SAMPLES, 1))[: found.first(SAMPLES, 1)]) // planes
    strips = -(-height // max(1, rows))
    for number, size in enumerate(sizes):
        needed = -(-width * bits // 8) * min(rows, height - number % strips * rows)
        if 0 < size < needed:
            return f"strip {number} holds {size:,} bytes, {needed:,} are needed"
    return ""


def _short_jpeg(
    file: BufferedIOBase, found: Directory, offsets: tuple[int, ...], sizes: tuple[int, ...], shape: tuple[int, int]
) -> str:
    """Strips or tiles that are JPEGs of another size, or whose data end early: libtiff fills up, and warns only."""
    tables = bytes(found.all(JPEG_TABLES))
    width, height, rows = found.first(WIDTH), found.first(HEIGHT), shape[1]
    is_tiled, strips = bool(found.all(TILES)), -(-height // max(1, rows))
    for number, (offset, size) in enumerate(zip(offsets, sizes, strict=False)):
        file.seek(offset)
        content = file.read(size)
        needed = shape if is_tiled else (width, min(rows, height - number % strips * rows))
        there = jpeg.size(content)
        if there is None or there[0] < needed[0] or there[1] < needed[1]:
            has = "no JPEG" if there is None else f"{there[0]} x {there[1]} pixels"
            return f"part {number} has {has}, {needed[0]} x {needed[1]} are needed"
        if fault := jpeg.strictly(tables[:-2] + content[2:] if tables else content):
            return f"part {number}: {fault}"
    return ""
