"""One file to one RGB picture, as a viewer would show it, or a reason why not.

Pillow reads; where only the pixels are wanted (`rgbx`), libjpeg-turbo decodes plain JPEGs without Pillow in between.

Files are opened read-only and may be anything: the size is checked in the header before a pixel is decoded, only
regular files are opened (a FIFO would block), and only formats whose decoders run in this process are tried. A
truncated file is an error, never a picture with a grey rest: Pillow's `LOAD_TRUNCATED_IMAGES` hides most damage.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO, TypeVar

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

T = TypeVar("T")

# Damage is either an error below or nothing that a viewer would report. Once for all: filters belong to the process,
# and threads that put them on and off for an image of theirs would leave some behind.
warnings.filterwarnings("ignore", module=r"PIL\.")

# 512 MiB as RGB. A PNG of a few hundred kilobytes can claim more.
PIXEL_LIMIT = 2**29 // 3

# Everything that Pillow reads by itself and that photographs come in; EPS, which starts Ghostscript, is not among them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SIDEWAYS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


class DecodeError(Exception):
    """This file is no picture that can be used. `path` as it was given, `reason` in one line."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def printable(path: str | os.PathLike[str]) -> str:
    """The path as one line of valid UTF-8: bytes that are not UTF-8, and control characters, as backslash escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, printable, for a message: "a, b, c, ..."."""
    return ", ".join(map(printable, names[:most])) + (", ..." if len(names) > most else "")


def decode(path: str | os.PathLike[str], content: bytes | None = None) -> Image.Image:
    """Read a picture as an RGB image with 8 bits a channel, upright as its EXIF orientation says.

    16 bits are scaled, not clipped; transparency is composited on white; of an animation the first frame is taken;
    colour profiles are not applied. Raises DecodeError for everything that cannot be shown so: missing or unreadable
    files, other things than regular files, empty, truncated or damaged files, other content than an image, pixels of
    32 bits (which have no agreed white), and claims of more than `PIXEL_LIMIT` pixels.

    content: the file's, where it has been read already; the path is then what an error names.
    """
    return _decoded(path, content, lambda image, _: _shown(image, path))


def rgbx(path: str | os.PathLike[str], content: bytes | None = None) -> UInt8[np.ndarray, "height width 4"]:
    """The same picture, or the same error, as `decode`'s: red, green, blue and a byte of padding a pixel. Faster."""

    def finished(image: Image.Image, file: BinaryIO) -> np.ndarray:
        if image.format == "JPEG" and image.mode == "RGB" and _turn(image) is None:
            file.seek(0)
            with suppress(ValueError):  # any warning of libjpeg's: Pillow decides what is damage and what is not
                return simplejpeg.decode_jpeg(file.read(), "RGBA")
        return np.array(_shown(image, path).convert("RGBX"))

    return _decoded(path, content, finished)


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) of the picture that `decode` makes of the file, by its header alone. Raises DecodeError."""

    def finished(image: Image.Image, _: BinaryIO) -> tuple[int, int]:
        return (image.height, image.width) if _turn(image) in _SIDEWAYS else image.size

    return _decoded(path, None, finished)


def _decoded(path: str | os.PathLike[str], content: bytes | None, finished: Callable[[Image.Image, BinaryIO], T]) -> T:
    """What `finished` makes of the image, whose header alone is read, and its file."""
    try:
        with _opened(path, content) as file:
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > PIXEL_LIMIT:
                raise DecodeError(path, f"claims {image.width} x {image.height} pixels, more than {PIXEL_LIMIT:,}")
            return finished(image, file)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(path, "not an image in a known format, whatever its name says") from error
    except Image.DecompressionBombError as error:
        raise DecodeError(path, f"claims more than {PIXEL_LIMIT:,} pixels") from error
    except Exception as error:  # a decoder that is fed damaged bytes can raise anything
        raise DecodeError(path, _one_line(error)) from error


def _opened(path: str | os.PathLike[str], content: bytes | None) -> AbstractContextManager[BinaryIO]:
    if content is None:
        return _open_regular(path)
    if not content:
        raise DecodeError(path, "empty file")
    return io.BytesIO(content)


@contextmanager
def _open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open read-only, and look at what was opened: a file that is swapped for a FIFO in between does no harm either."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DecodeError(path, "not a regular file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(path, "not a regular file")
        if status.st_size == 0:
            raise DecodeError(path, "empty file")
        yield file


def _shown(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    """As RGB and upright. Turned once loaded: Pillow turns TIFF itself then, and drops the tag."""
    image.load()
    picture, turn = _to_rgb(image, path), _turn(image)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise DecodeError(path, f"32-bit pixels ({image.mode}) have no agreed white; convert them to 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _scale_16_bits(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _scale_16_bits(image: Image.Image) -> Image.Image:
    """0..65535 to 0..255, rounded; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.uint32)
    gray = ((values + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        gray[values == key] = 255
    return Image.fromarray(gray).convert("RGB")


def _turn(image: Image.Image) -> Transpose | None:
    """What the EXIF block asks for."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # a broken EXIF block says nothing about the pixels: show them as they are
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split())
    return f"damaged: {text}" if text else f"damaged: {type(error).__name__}"
