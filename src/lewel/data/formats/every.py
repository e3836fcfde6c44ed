"""The same questions to a file of any format; each is answered by the module of its format, or needs no answer."""

from __future__ import annotations

from io import BufferedIOBase

from PIL import Image
from PIL.ImageFile import ImageFile

from lewel.data.formats import gif, jpeg, jpeg2000, png, tiff, webp
from lewel.data.formats.tiff import Directory

_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"\0\0\0\x0cjP": "JPEG 2000",
}


def pixels_only(file: BufferedIOBase) -> bytes | None:
    """The file without metadata; None where it has none, or is of a format in which they do no harm."""
    content = _whole(file)
    if content.startswith(b"\xff\xd8"):
        bare = jpeg.pixels_only(content)
    elif content.startswith(b"\x89PNG"):
        bare = png.pixels_only(content)
    elif content.startswith(b"RIFF"):
        bare = webp.pixels_only(content)
    elif (directory := tiff.directory(file)) is not None:
        bare = tiff.pixels_only(content, directory)
    else:
        return None
    return bare if bare != content else None


def shortfall(image: Image.Image, file: BufferedIOBase, directory: Directory | None) -> str:
    """What is missing of the pixels that the header claims: the decoders fill up in grey or black, without a word.

    image: decoded.  directory: of a TIFF.
    """
    if image.format in ("JPEG", "MPO"):
        return jpeg.shortfall(image, lambda: _whole(file))
    if image.format == "PNG":
        return png.shortfall(image, file)
    if image.format == "JPEG2000":
        return jpeg2000.shortfall(file)
    return "" if directory is None else tiff.shortfall(file, directory)


def frames(image: Image.Image, file: BufferedIOBase, directory: Directory | None) -> int:
    """How many frames or pages there are."""
    if directory is not None:
        return tiff.pages(file, directory)
    if image.format == "GIF":
        return gif.frames(file)
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP", "AVIF") else 1


def small_frame(image: ImageFile) -> str:
    """The first frame of a GIF, where most of its screen is empty. image: not decoded yet."""
    box = image.tile[0][1] if image.format == "GIF" and image.tile else None
    if box is None or 2 * (box[2] - box[0]) * (box[3] - box[1]) >= image.width * image.height:
        return ""
    return f"the first frame has {box[2] - box[0]} x {box[3] - box[1]} pixels"


def unidentified(file: BufferedIOBase) -> str:
    """Why Pillow knows no format for the file."""
    directory = tiff.directory(file)
    if directory is not None and directory.entries:
        bits, kind = directory.all(tiff.BITS) or (1,), directory.first(tiff.FORMAT, 1)
        numbers = {2: "signed integers", 3: "floating-point numbers"}.get(kind, "integers")
        told = " + ".join(map(str, bits[:4]))
        return f"a TIFF with pixels of {told} bits, {numbers}, cannot be read; convert it to 8 or 16 bits"
    file.seek(0)
    head = file.read(16)
    name = next((name for start, name in _BEGINNINGS.items() if head.startswith(start)), None)
    return f"damaged: the header of this {name} cannot be read" if name else _UNKNOWN


_UNKNOWN = "not an image in a known format, whatever its name says"


def _whole(file: BufferedIOBase) -> bytes:
    file.seek(0)
    return file.read()
