"""What decoding one image may take: seconds of CPU time and bytes, estimated from its header before a pixel is decoded.

An estimate is the same on every machine and in every run, so the same images are replaced. Its constants are measured
on 2 AVX2 cores; what no estimate foresees ends a data worker instead (`lewel.data.serving`).
"""

from __future__ import annotations

import os
from functools import lru_cache
from io import BufferedIOBase
from typing import NamedTuple

from PIL import Image

from lewel.data.formats import jpeg, jpeg2000, tiff
from lewel.data.formats.tiff import Directory
from lewel.errors import UserError

SECONDS, GIGABYTES = "LEWEL_IMAGE_SECONDS", "LEWEL_IMAGE_GB"
_DEFAULTS = {SECONDS: 10.0, GIGABYTES: 1.0}
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # a pixel in Pillow's memory; else 4

# Seconds of CPU time a pixel and a byte of the file, at the worst of flat pictures, photographs and noise.
_SECONDS = {
    "GIF": (15e-9, 0.0),
    "WEBP": (10e-9, 100e-9),
    "AVIF": (10e-9, 115e-9),
    "JPEG2000": (55e-9, 190e-9),
}
_MOST_BYTES_A_PIXEL = 4  # that count: of an animation only the first frame is decoded
_SECONDS_A_RAW_BYTE = {"PNG": 17e-9, "TIFF": 15e-9}  # PNG: unpacked twice where the picture ends in black
_SECONDS_A_PACKET = 2e-6  # of JPEG 2000
_SECONDS_IN_PYTHON = 1e-6  # a sample of a text PPM, a byte of a run-length BMP
# Bytes a pixel that the decoders take beside the picture.
_BESIDE = {"WEBP": 14, "AVIF": 8, "JPEG2000": 14, "GIF": 2}


class Limits(NamedTuple):
    """Of one image: seconds of CPU time, and bytes."""

    seconds: float
    bytes: float


def limits() -> Limits:
    """As the environment says, else 10 s and 1 GB. Raises UserError for what is no positive number."""
    return _limits(os.environ.get(SECONDS), os.environ.get(GIGABYTES))


@lru_cache(16)
def _limits(seconds: str | None, gigabytes: str | None) -> Limits:
    return Limits(_read(SECONDS, seconds), _read(GIGABYTES, gigabytes) * 1e9)


def _read(name: str, text: str | None) -> float:
    if not text:
        return _DEFAULTS[name]
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UserError(f"{name}={text}: must be a number above 0, such as {_DEFAULTS[name]:g}")
    return value


def excess(image: Image.Image, file: BufferedIOBase, directory: Directory | None, turned: bool) -> str:
    """Why the image, of which only the header is read, is beyond the limits; empty where it is not.

    directory: of a TIFF.  turned: whether the picture is turned once it is decoded, which needs it twice.
    """
    allowed = limits()
    size = f"{image.width} x {image.height} pixels"
    cost = _cost(image, file, directory, allowed)
    if cost.seconds > allowed.seconds:
        scans = f" in {cost.scans:,} scans" if cost.scans > 1 else ""
        about = f"{size}{scans} take about {cost.seconds:.0f} s to decode"
        return f"{about}, more than {allowed.seconds:g} s ({SECONDS})"
    needed = cost.bytes + _picture_bytes(image, turned)
    if needed > allowed.bytes:
        return f"{size} take about {needed / 1e9:.1f} GB to decode, more than {allowed.bytes / 1e9:g} GB ({GIGABYTES})"
    return ""


def _picture_bytes(image: Image.Image, turned: bool) -> int:
    """As it is decoded, as RGB, and turned."""
    own = _BYTES.get(image.mode, 4)
    return image.width * image.height * (own + 4 * (image.mode != "RGB") + 4 * turned)


def _cost(image: Image.Image, file: BufferedIOBase, directory: Directory | None, allowed: Limits) -> jpeg.Cost:
    """Beside the picture itself."""
    kind = image.format or ""
    if kind in ("JPEG", "MPO"):
        return _of_jpeg(image, file, allowed)
    pixels, there = image.width * image.height, file.seek(0, os.SEEK_END)
    if kind in _SECONDS:
        for_pixel, for_byte = _SECONDS[kind]
        seconds = pixels * for_pixel + min(there, _MOST_BYTES_A_PIXEL * pixels) * for_byte
        if kind == "JPEG2000" and (stream := jpeg2000.codestream(file)) is not None:
            seconds += stream.packets * _SECONDS_A_PACKET
        return jpeg.Cost(seconds, pixels * _BESIDE[kind] + there, 0)
    if kind in _SECONDS_A_RAW_BYTE:
        raw = pixels * _raw_bits(image, directory) // 8
        beside = 0 if directory is None else _part_bytes(directory, raw)
        return jpeg.Cost(pixels * 4e-9 + raw * _SECONDS_A_RAW_BYTE[kind], beside, 0)
    codec, _ = _codec(image)
    if codec == "bmp_rle":
        return jpeg.Cost(there * _SECONDS_IN_PYTHON, pixels * 2, 0)
    if codec in ("ppm", "ppm_plain"):
        return jpeg.Cost(pixels * len(image.getbands()) * 2 * _SECONDS_IN_PYTHON, pixels * 8, 0)
    return jpeg.Cost(0.0, 0, 0)


def _of_jpeg(image: Image.Image, file: BufferedIOBase, allowed: Limits) -> jpeg.Cost:
    """file: where the header ended that Pillow has read, behind the first scan's."""
    end, pixels, components = file.tell(), image.width * image.height, len(image.getbands())
    there = file.seek(0, os.SEEK_END)
    least = jpeg.one_scan(pixels, there)
    if least.seconds > allowed.seconds:  # a file of gigabytes is not read to know it better
        return least
    file.seek(0)
    if "progressive" not in image.info and jpeg.begins_with_all(file.read(end), components):
        return least
    file.seek(0)
    content = file.read()
    most = jpeg.many_scans(content, pixels * components)
    return most if _is_little(most, pixels, allowed) else jpeg.cost(content)


def _is_little(cost: jpeg.Cost, pixels: int, allowed: Limits) -> bool:
    """Whether no limit is near, whatever else the picture needs."""
    return cost.seconds < allowed.seconds and cost.bytes + 12 * pixels < allowed.bytes


def _raw_bits(image: Image.Image, directory: Directory | None) -> int:
    """Bits of a pixel in the file, at most."""
    if directory is None:
        return (16 if has_16_bits(image) else 8) * len(image.getbands())
    samples = directory.first(tiff.SAMPLES, 1)
    bits = directory.all(tiff.BITS) or (1,)
    return samples * max(bits)


def has_16_bits(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel. image: not decoded yet."""
    told = _codec(image)[1]
    rawmode = told[0] if isinstance(told, tuple) and told else told
    return image.format in ("PNG", "TIFF") and ";16" in str(rawmode)


def _codec(image: Image.Image) -> tuple[str, object]:
    """The decoder that Pillow will use, and what it tells it of the pixels."""
    tiles = getattr(image, "tile", None)
    return (tiles[0][0], tiles[0][3]) if tiles else ("", "")


def _part_bytes(directory: Directory, raw: int) -> int:
    """Bytes of a strip or tile, which is unpacked as a whole."""
    width, height = directory.first(tiff.WIDTH, 1), directory.first(tiff.HEIGHT, 1)
    across, down = directory.first(tiff.TILE_WIDTH, width), directory.first(tiff.TILE_HEIGHT, 0)
    rows = down or min(directory.first(tiff.ROWS, height), height)
    return raw * across * rows // max(1, width * height)
