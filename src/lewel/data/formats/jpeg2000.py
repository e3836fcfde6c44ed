"""JPEG 2000: the number of its tiles and packets, and tiles that are missing, from the codestream's markers (T.800)."""

from __future__ import annotations

from io import BufferedIOBase
from typing import NamedTuple

_START, _SIZE, _CODING, _TILE_PART = b"\xff\x4f\xff\x51", 0xFF51, 0xFF52, 0xFF90
_HEAD = 2**16  # bytes in which the codestream begins: the boxes before it are small


class Codestream(NamedTuple):
    """What the main header says.  start: where it lies.  first: where its first tile-part lies.

    packets: of all tiles, which cost time even when they are empty.
    """

    start: int
    first: int
    tiles: int
    packets: int


def codestream(file: BufferedIOBase) -> Codestream | None:
    """None where it is not found."""
    file.seek(0)
    head = file.read(_HEAD)
    start = head.find(_START)
    if start < 0:
        return None
    tiles = components = packets = 0
    position = start + 2
    while position + 4 <= len(head):
        marker, length = int.from_bytes(head[position : position + 2], "big"), _short(head, position + 2)
        body = head[position + 4 : position + 2 + length]
        if marker == _TILE_PART:
            return Codestream(start, position, tiles, packets)
        if marker == _SIZE and len(body) >= 36:
            tiles, components = _tiles(body), _short(body, 34)
        elif marker == _CODING and len(body) >= 6:
            packets = tiles * components * _short(body, 2) * (body[5] + 1)
        position += 2 + max(2, length)
    return None


def _short(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big")


def _tiles(size: bytes) -> int:
    width, height, left, top, across, down, tile_left, tile_top = (
        int.from_bytes(size[i : i + 4], "big") for i in range(2, 34, 4)
    )
    if not across or not down or left >= width or top >= height:
        return 0
    return -(-(width - tile_left) // across) * -(-(height - tile_top) // down)


def shortfall(file: BufferedIOBase) -> str:
    """How many tiles are missing; the decoder leaves them black."""
    found = codestream(file)
    if found is None or found.tiles < 2:
        return ""
    seen, position = set[int](), found.first
    while True:
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or _short(head, 0) != _TILE_PART:
            break
        seen.add(_short(head, 4))
        length = int.from_bytes(head[6:10], "big")
        if length < 12:  # the last tile-part may reach to the end
            break
        position += length
    return f"{len(seen)} tiles are there, {found.tiles} are needed" if len(seen) < found.tiles else ""
