"""Small files of every format, and files that lie about themselves."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def noise(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image: Image.Image, ending: str, **options: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000"}.get(ending.upper(), ending.upper()), **options)
    return held.getvalue()


def jpeg_claiming(content: bytes, width: int, height: int) -> bytes:
    """The same data under a frame header of another size."""
    position = 2
    while content[position + 1] not in (0xC0, 0xC1, 0xC2):
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return content[: position + 5] + struct.pack(">HH", height, width) + content[position + 9 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(content: bytes, *chunks: bytes) -> bytes:
    """With more chunks behind the header."""
    return content[:33] + b"".join(chunks) + content[33:]


def png_claiming(content: bytes, width: int, height: int) -> bytes:
    return content[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + content[24:29]) + content[33:]


Tags = dict[int, tuple[int, list[int]]]  # kind (1 byte, 3 short, 4 long, ...) and values, by tag


def tiff(pixels: bytes, width: int, height: int, bits: int, tags: Tags | None = None, order: str = "<") -> bytes:
    """Grey, unpacked, in one strip. tags: more of them, or others."""
    entries: Tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits]),
        259: (3, [1]),
        262: (3, [1]),
        273: (4, [8]),
        277: (3, [1]),
        278: (4, [height]),
        279: (4, [len(pixels)]),
    } | (tags or {})
    pixels += b"\0" * (len(pixels) % 2)
    body, behind = b"", b""
    start = 8 + len(pixels)
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(order + {1: "B", 2: "B", 3: "H", 4: "I"}[kind] * len(values), *values)
        if len(raw) > 4:
            where = start + 6 + 12 * len(entries) + len(behind)
            behind, raw = behind + raw, struct.pack(order + "I", where)
        body += struct.pack(order + "HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + pixels + struct.pack(order + "H", len(entries)) + body + bytes(4) + behind


def scans_repeated(content: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[last:end] * times + content[end:]
