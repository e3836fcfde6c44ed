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
from io import BufferedIOBase
from typing import IO, NamedTuple, TypeVar, cast

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile

from lewel.data import budget, remarks
from lewel.data.budget import limits
from lewel.data.formats import every as formats
from lewel.data.formats import png, tiff
from lewel.data.formats.tiff import Directory
from lewel.data.rgb import UnsupportedError, to_rgb, to_rgbx
from lewel.errors import UserError
from lewel.terminal import printable

T = TypeVar("T")

# Damage is either an error below or nothing that a viewer would report. Once for all: filters belong to the process,
# and threads that put them on and off for an image of theirs would leave some behind.
warnings.filterwarnings("ignore", module=r"PIL\.")

_AT_ONCE = 2**26  # bytes: larger files are read in pieces

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
_TELLING = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # what Pillow looks for an orientation in
_TURNED_LATE = ("PNG", "TIFF")
_SIDEWAYS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


class DecodeError(Exception):
    """This file is no picture that can be used. `path` as it was given, `reason` in one line."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, printable, for a message: "a, b, c, ..."."""
    return ", ".join(map(printable, names[:most])) + (", ..." if len(names) > most else "")


def decode(path: str | os.PathLike[str], content: bytes | None = None) -> Image.Image:
    """Read a picture as an RGB image with 8 bits a channel, upright as its EXIF orientation says.

    16 bits are scaled, not clipped; transparency is composited on white; of an animation the first frame is taken, of
    several pages the first (`lewel.data.remarks` counts both); colour profiles are not applied; metadata that Pillow
    refuses are left out. Raises DecodeError for everything that cannot be shown so: missing or unreadable files, other
    things than regular files, empty, truncated or damaged files, headers that claim more than the data, other content
    than an image, pixels of 32 bits (which have no agreed white), claims of more than `PIXEL_LIMIT` pixels, and images
    beyond the limits of time and memory (`lewel.data.budget`).

    content: the file's, where it has been read already; the path is then what an error names.
    """
    return _decoded(path, content, _shown)


def rgbx(path: str | os.PathLike[str], content: bytes | None = None) -> UInt8[np.ndarray, "height width 4"]:
    """The same picture, or the same error, as `decode`'s: red, green, blue and a byte of padding a pixel. Faster."""

    def finished(opened: _Opened) -> np.ndarray:
        image = opened.image
        if image.format == "JPEG" and image.mode == "RGB" and opened.turn is None:
            _refuse_excess(opened)
            with suppress(ValueError):  # any warning of libjpeg's: Pillow decides what is damage and what is not
                return simplejpeg.decode_jpeg(_whole(opened.file), "RGBA")
        return to_rgbx(_shown(opened))

    return _decoded(path, content, finished)


class Header(NamedTuple):
    """size: (width, height) of the picture that `decode` makes.  turn: how it turns the stored one; None: not."""

    size: tuple[int, int]
    turn: Transpose | None

    @property
    def is_sideways(self) -> bool:
        """Whether the stored picture has width and height exchanged."""
        return self.turn in _SIDEWAYS


def header(path: str | os.PathLike[str]) -> Header:
    """What can be told of a picture without its pixels. Raises DecodeError."""
    return _decoded(path, None, _header, header_only=True)


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) of the picture that `decode` makes of the file, by its header alone. Raises DecodeError."""
    return header(path).size


class _Opened(NamedTuple):
    """An image of which only the header has been read.  directory: of a TIFF.

    turn: what its EXIF block asks for; of PNG and TIFF it is known when the pixels are there.
    """

    path: str | os.PathLike[str]
    image: ImageFile
    file: BufferedIOBase
    directory: Directory | None
    turn: Transpose | None


def _decoded(
    path: str | os.PathLike[str],
    content: bytes | None,
    finished: Callable[[_Opened], T],
    header_only: bool = False,
) -> T:
    """What `finished` makes of the image; whatever is wrong with it is a DecodeError."""
    try:
        with _file(path, content, header_only) as file:
            return _with_or_without_metadata(path, file, finished)
    except (DecodeError, UserError):
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(path, f"claims more than {PIXEL_LIMIT:,} pixels") from error
    except UnsupportedError as error:
        raise DecodeError(path, str(error)) from error
    except MemoryError as error:
        raise DecodeError(path, "not enough memory to decode it") from error
    except Exception as error:  # a decoder that is fed damaged bytes can raise anything
        raise DecodeError(path, _one_line(error)) from error


def _with_or_without_metadata(
    path: str | os.PathLike[str], file: BufferedIOBase, finished: Callable[[_Opened], T]
) -> T:
    """An image that cannot be read with its metadata is read without them: Pillow's limits on them are global."""
    claimed: tuple[int, int] | None = None
    try:
        try:
            opened = _open(path, file)
            claimed = opened.image.size
            return finished(opened)
        except (DecodeError, UserError, UnsupportedError):
            raise
        except Exception:
            bare = formats.pixels_only(file) if _is_small(file) else None
            again = None if bare is None else _open(path, io.BytesIO(bare))
            if again is None or claimed not in (None, again.image.size):  # of two sizes in one file, neither is sure
                raise
        return finished(again)
    except UnidentifiedImageError as error:
        raise DecodeError(path, formats.unidentified(file)) from error


def _open(path: str | os.PathLike[str], file: BufferedIOBase) -> _Opened:
    directory = tiff.directory(file)
    if directory is not None and _is_white_zero(directory):
        file = io.BytesIO(tiff.black_is_zero(_whole(file), directory))  # Pillow reads some of these as black is zero
    file.seek(0)
    image = cast(ImageFile, Image.open(cast(IO[bytes], file), formats=FORMATS))
    if image.width * image.height > PIXEL_LIMIT:
        raise DecodeError(path, f"claims {image.width} x {image.height} pixels, more than {PIXEL_LIMIT:,}")
    turn = _turn(image) if image.format not in _TURNED_LATE and not _TELLING.isdisjoint(image.info) else None
    return _Opened(path, image, file, directory, turn)


def _is_white_zero(directory: Directory) -> bool:
    """Whether it has grey of 12 or 16 bits in which 0 is white."""
    return directory.first(tiff.PHOTOMETRIC, 1) == 0 and directory.all(tiff.BITS) in ((12,), (16,))


def _is_small(file: BufferedIOBase) -> bool:
    """Whether the file and a copy of it may lie in memory."""
    return file.seek(0, os.SEEK_END) <= limits().bytes / 4


def _whole(file: BufferedIOBase) -> bytes:
    file.seek(0)
    return file.read()


def _file(
    path: str | os.PathLike[str], content: bytes | None, header_only: bool
) -> AbstractContextManager[BufferedIOBase]:
    if content is None:
        return _open_regular(path, header_only)
    if not content:
        raise DecodeError(path, "empty file")
    return io.BytesIO(content)


@contextmanager
def _open_regular(path: str | os.PathLike[str], header_only: bool) -> Iterator[BufferedIOBase]:
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
        yield file if header_only or status.st_size > _AT_ONCE else io.BytesIO(file.read())


def _header(opened: _Opened) -> Header:
    image = opened.image
    if opened.directory is not None:  # Pillow tells the turned size of a TIFF
        return Header(image.size, _UPRIGHT.get(opened.directory.first(_ORIENTATION_TAG, 1)))
    if image.format == "PNG" and "exif" not in image.info:  # Pillow's way to it goes through the pixels
        turn = _turn(image) if png.turns_late(opened.file) else _turn_before_pixels(image)
    else:
        turn = _turn(image) if image.format == "PNG" else opened.turn
    return Header((image.height, image.width) if turn in _SIDEWAYS else image.size, turn)


def _shown(opened: _Opened) -> Image.Image:
    """As RGB and upright. TIFF is turned by Pillow."""
    _refuse_excess(opened)
    image, directory = opened.image, opened.directory
    _note_frames(opened)
    bits = 16 if budget.has_16_bits(image) else 8
    claimed, missing = f"{image.width} x {image.height} pixels", formats.small_frame(image)
    image.load()
    if missing := missing or formats.shortfall(image, opened.file, directory):
        raise DecodeError(opened.path, f"claims {claimed}, its data hold less: {missing}")
    white, inverted = 65535, False
    if directory is not None and directory.all(tiff.BITS) == (12,):
        white = 4095
    if directory is not None and _is_white_zero(directory):
        inverted = True
    picture, found = to_rgb(image, white, inverted, bits)
    if found is not None and white == 65535:
        remarks.values(printable(opened.path), found)
    turn = _turn(image) if image.format == "PNG" else opened.turn
    return picture if turn is None else picture.transpose(turn)


def _refuse_excess(opened: _Opened) -> None:
    """Raises DecodeError for an image that would take more time or memory than it may."""
    if excess := budget.excess(opened.image, opened.file, opened.directory, opened.turn is not None):
        raise DecodeError(opened.path, excess)


def _note_frames(opened: _Opened) -> None:
    """Counted in the file's blocks, once for each file."""
    if opened.image.format in ("JPEG", "BMP", "PPM") or remarks.knows("frames", path := printable(opened.path)):
        return
    remarks.frames(path, formats.frames(opened.image, opened.file, opened.directory))


def _turn(image: Image.Image) -> Transpose | None:
    """What the EXIF block asks for."""
    try:
        return _told(image.getexif())
    except Exception:  # a broken EXIF block says nothing about the pixels: show them as they are
        return None


def _turn_before_pixels(image: Image.Image) -> Transpose | None:
    """Of a PNG, whose own `getexif` decodes the pixels where no EXIF block comes before them."""
    try:
        return _told(Image.Image.getexif(image))
    except Exception:
        return None


def _told(exif: Image.Exif) -> Transpose | None:
    orientation = exif.get(_ORIENTATION_TAG)
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = " ".join(str(error).split())
    return f"damaged: {text}" if text else f"damaged: {type(error).__name__}"
