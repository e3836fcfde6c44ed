"""PNG: a copy without metadata, whether the data cover the picture that the header claims, and how many frames.

Read from the chunks (PNG third edition, W3C 2025).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BufferedIOBase, BytesIO
from typing import NamedTuple

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}
_TURNING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts that may say which side is up
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_TEXT_LIMIT = 2**20  # bytes, packed and unpacked, of what is kept; Pillow refuses more
_BLOCK = 2**20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: first column and row, and the steps between them, of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Chunk(NamedTuple):
    """Its name, where its data begin, and how many bytes they are."""

    name: bytes
    start: int
    length: int


def chunks(file: BufferedIOBase) -> Iterator[Chunk]:
    """All chunks up to the last, or to the end of the file; their data are not read."""
    position = len(_SIGNATURE)
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        found = Chunk(head[4:], position + 8, int.from_bytes(head[:4], "big"))
        yield found
        if found.name == b"IEND":
            return
        position = found.start + found.length + 4


def pixels_only(content: bytes) -> bytes:
    """The same picture without metadata; of an animation the first frame. What says which side is up stays."""
    kept = [_SIGNATURE]
    for name, start, length in chunks(BytesIO(content)):
        text = content[start : start + length] if name in _TEXTS and length <= _TEXT_LIMIT else b""
        if name in _PIXELS or _turns(text):
            kept.append(content[start - 8 : start + length + 4])
    return b"".join(kept)


def _turns(text: bytes) -> bool:
    """Whether it is a text that may say which side is up, of a size that Pillow reads."""
    if not text.startswith(_TURNING):
        return False
    packed = text.find(b"x", text.index(b"\0"))  # zlib streams begin so
    try:
        unpacking = zlib.decompressobj()
        unpacking.decompress(text[packed:], _TEXT_LIMIT)
        return not unpacking.unconsumed_tail
    except zlib.error:
        return True


def turns_late(file: BufferedIOBase) -> bool:
    """Whether something behind the pixels says which side is up: Pillow sees it when it has decoded them."""
    behind = False
    for name, start, length in chunks(file):
        behind = behind or name == b"IDAT"
        if behind and name == b"eXIf":
            return True
        if behind and name in _TEXTS:
            file.seek(start)
            if file.read(min(length, 40)).startswith(_TURNING):
                return True
    return False


def shortfall(image: Image.Image, file: BufferedIOBase) -> str:
    """What is missing, where the data end before the picture does. Pillow leaves the rest at 0, without a word.

    So the last row is looked at, and where it is all 0, the data are unpacked and counted; of interlaced ones always.
    """
    if not image.info.get("interlace") and not _ends_in_zeros(image):
        return ""
    file.seek(len(_SIGNATURE) + 8)
    header = file.read(13)
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    needed = _bytes_needed(width, height, header[8] * _CHANNELS.get(header[9], 1), bool(header[12]))
    found = _unpacked(file, needed)
    return f"{found:,} bytes of pixels are there, {needed:,} are needed" if found < needed else ""


def _ends_in_zeros(image: Image.Image) -> bool:
    last = image.getpixel((image.width - 1, image.height - 1))
    if any(last) if isinstance(last, tuple) else last:
        return False
    return image.crop((0, image.height - 1, image.width, image.height)).getbbox(alpha_only=False) is None


def _bytes_needed(width: int, height: int, bits: int, interlaced: bool) -> int:
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _unpacked(file: BufferedIOBase, enough: int) -> int:
    """How many bytes the pixels' chunks unpack to, counted up to `enough`, a mebibyte at a time."""
    unpacking, found = zlib.decompressobj(), 0
    for packed in _packed(file):
        while packed and found < enough and not unpacking.eof:
            found += len(unpacking.decompress(packed, _BLOCK))
            packed = unpacking.unconsumed_tail
        if found >= enough or unpacking.eof:
            break
    return found


def _packed(file: BufferedIOBase) -> Iterator[bytes]:
    """The data of the pixels' chunks, in blocks."""
    for name, start, length in list(chunks(file)):
        for first in range(start, start + length if name == b"IDAT" else start, _BLOCK):
            file.seek(first)
            yield file.read(min(_BLOCK, start + length - first))
