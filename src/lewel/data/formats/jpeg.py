"""JPEG: the cost of its scans, a copy without metadata, and whether the data cover the picture that the header claims.

Read from the markers (ITU-T T.81, annex B); no pixel is decoded for the cost or the copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import simplejpeg
from PIL import Image

_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_METADATA = {*range(0xE1, 0xF0), _COMMENT} - {0xEE}  # APP0 and Adobe's APP14 say which colours the components are
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _ARITHMETIC = {0xC0, 0xC1}, {0xC9, 0xCA, 0xCB}
# Any marker but stuffed zeros and restarts, which belong to the entropy-coded data.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")

# Seconds of CPU time, measured on a 2-core AVX2 machine at the worst of flat pictures and noise.
_PER_PIXEL = 10e-9
_PER_BYTE, _PER_BYTE_OF_MANY_SCANS, _PER_BYTE_ARITHMETIC = 15e-9, 65e-9, 150e-9
_PER_SAMPLE_OF_A_SCAN, _PER_SAMPLE_ARITHMETIC = 1.25e-9, 15e-9


class Segment(NamedTuple):
    """A marker with its parameters; the entropy-coded data belong to the scan before them."""

    marker: int
    start: int
    end: int


class Frame(NamedTuple):
    """What the frame header says.  samples: of each component, by its id."""

    marker: int
    width: int
    height: int
    samples: dict[int, int]


class Cost(NamedTuple):
    """What decoding takes: seconds of CPU time, bytes beside the picture, and scans over it."""

    seconds: float
    bytes: int
    scans: int


def segments(content: bytes) -> Iterator[Segment]:
    """All segments up to the end of the image or of the data."""
    position = 2
    while (found := _MARKER.search(content, position)) is not None:
        marker, start = found[1][0], found.end() - 2
        if marker == _END or marker < 0xC0 or marker == 0xD8:  # without parameters
            end = start + 2
        else:
            end = start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4], "big"))
        if marker == _SCAN:
            after = _MARKER.search(content, end)
            end = len(content) if after is None else after.end() - 2
        yield Segment(marker, start, min(end, len(content)))
        if marker == _END:
            return
        position = end


def one_scan(pixels: int, there: int) -> Cost:
    """Of a file of so many bytes, whose first scan has all components."""
    return Cost(pixels * _PER_PIXEL + there * _PER_BYTE, 0, 1)


def begins_with_all(head: bytes, components: int) -> bool:
    """Whether the first scan, whose header ends `head`, has all components of a sequential picture."""
    start = head.rfind(b"\xff\xda")
    return start >= 0 and head[start + 4 : start + 5] == bytes([components])


def many_scans(content: bytes, samples: int) -> Cost:
    """What `cost` is at most, for a picture of so many samples, without a look at each marker."""
    scans = content.count(b"\xff\xda")  # previews in the metadata have some too
    seconds = samples * _PER_PIXEL + scans * samples * _PER_SAMPLE_ARITHMETIC + len(content) * _PER_BYTE_ARITHMETIC
    return Cost(seconds, 2 * samples, scans)


def cost(content: bytes) -> Cost:
    """An estimate from the markers alone; the same file has the same cost on every machine."""
    frame: Frame | None = None
    visited = scans = 0
    for marker, start, end in segments(content):
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, content[start + 4 : end])
        elif marker == _SCAN and frame is not None:
            count = content[start + 4] if start + 4 < end else 0
            visited += sum(frame.samples.get(each, 0) for each in content[start + 5 : start + 5 + 2 * count : 2])
            scans += 1
    if frame is None:
        return Cost(len(content) * _PER_BYTE, 0, scans)
    samples = sum(frame.samples.values())
    if frame.marker in _SEQUENTIAL and scans < 2:
        return one_scan(frame.width * frame.height, len(content))
    seconds = frame.width * frame.height * _PER_PIXEL
    arithmetic = frame.marker in _ARITHMETIC
    seconds += visited * (_PER_SAMPLE_ARITHMETIC if arithmetic else _PER_SAMPLE_OF_A_SCAN)
    seconds += len(content) * (_PER_BYTE_ARITHMETIC if arithmetic else _PER_BYTE_OF_MANY_SCANS)
    return Cost(seconds, 2 * samples, scans)  # all coefficients are kept, in 16 bits, until the last scan


def _frame(marker: int, body: bytes) -> Frame | None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return None
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    parts = [(body[i], body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, 6 + 3 * body[5], 3)]
    most = max((across * down for _, across, down in parts), default=1) or 1
    return Frame(marker, width, height, {name: width * height * across * down // most for name, across, down in parts})


def size(content: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header, None where there is none."""
    for marker, start, end in segments(content):
        if marker in _FRAMES:
            frame = _frame(marker, content[start + 4 : end])
            return None if frame is None else (frame.width, frame.height)
    return None


def pixels_only(content: bytes) -> bytes:
    """The same picture without metadata: EXIF stays, as it says which side is up."""
    kept = [content[:2]]
    for marker, start, end in segments(content):
        is_exif = marker == 0xE1 and content[start + 4 : start + 10] == b"Exif\0\0"
        if marker not in _METADATA or is_exif:
            kept.append(content[start:end])
    return b"".join(kept)


def shortfall(image: Image.Image, content: Callable[[], bytes]) -> str:
    """Where the data end before the picture does, libjpeg's words for it.

    libjpeg goes on in mid-grey there, with a warning that Pillow does not pass on. So the last pixel is looked at, and
    where it is such a grey, the data are decoded again by a decoder that stops at a warning.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    if any(value is None or abs(value - 128) > 2 for value in values):
        return ""
    return strictly(content())


def strictly(content: bytes) -> str:
    """The first fault or warning of libjpeg, empty where there is none."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY")
    except ValueError as error:
        return str(error).removeprefix("Corrupt JPEG data: ")
    return ""
