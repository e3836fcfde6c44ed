"""Metadata that Pillow refuses, headers that claim more than the data, sizes, and where white is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import chunk, encoded, jpeg_claiming, noise, png_claiming, png_with, tiff
from PIL import Image, PngImagePlugin

from lewel.data.decode import DecodeError, decode, rgbx, size

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")


def values(content: bytes) -> list[int]:
    """The red of the first row."""
    return np.asarray(decode("a", content))[0, :, 0].tolist()


# -- metadata


def png_text(kind: bytes, text: bytes) -> bytes:
    head = {b"zTXt": b"workflow\0\0", b"iTXt": b"workflow\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    return chunk(kind, head + zlib.compress(text))


@pytest.mark.parametrize(
    "more",
    [
        png_text(b"zTXt", bytes(2 * 2**20)),
        png_text(b"iTXt", bytes(2 * 2**20)),
        png_text(b"iCCP", bytes(2 * 2**20)),
        png_text(b"zTXt", bytes(2**20 - 9)) * 70,  # more than Pillow keeps of all texts
        chunk(b"zTXt", b"a\0\7" + zlib.compress(b"a")),  # an unknown method
        chunk(b"tEXt", b"transparency\0none"),  # a name that Pillow keeps something else under
        chunk(b"gAMA", b"\0"),
        chunk(b"tEXt", b"a\0b")[:-1] + b"!",  # another CRC
    ],
    ids=["zTXt", "iTXt", "profile", "many", "method", "name", "short", "crc"],
)
@pytest.mark.parametrize("behind", [False, True])
def test_png_metadata(more: bytes, behind: bool) -> None:
    whole = encoded(noise(), "png")
    content = whole[:-12] + more + whole[-12:] if behind else png_with(whole, more)
    assert (np.asarray(decode("a", content)) == np.asarray(noise())).all()
    assert (rgbx("a", content)[..., :3] == np.asarray(noise())).all()
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20  # a user's own reading of PNGs is as it was


def test_png_stays_upright_without_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = png_with(encoded(noise(), "png", exif=exif), png_text(b"zTXt", bytes(2 * 2**20)))
    assert decode("a", content).size == (48, 64)


@pytest.mark.parametrize("tag", [270, 271, 306, 700, 34665, 34853])
@pytest.mark.parametrize("entry", [(2, 10, 2**31), (3, 3, 8), (16, 2**31, 2**31)])
@pytest.mark.parametrize("packing", [None, "tiff_lzw"])
def test_tiff_metadata(tag: int, entry: tuple[int, int, int], packing: str | None) -> None:
    whole = encoded(noise(), "tif", compression=packing)
    (start,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, start)
    entries = [whole[start + 2 + 12 * i :][:12] for i in range(count)] + [struct.pack("<HHII", tag, *entry)]
    entries.sort(key=lambda each: struct.unpack_from("<H", each))
    head = whole[:4] + struct.pack("<I", len(whole)) + whole[8:]
    content = head + struct.pack("<H", count + 1) + b"".join(entries) + bytes(4)
    assert (np.asarray(decode("a", content)) == np.asarray(noise())).all()


def test_tiff_that_is_cut_and_has_two_heights_is_refused(tmp_path: Path) -> None:
    """Read without its metadata it has the second height, and Pillow tells the first."""
    content = bytearray(encoded(noise().convert("L"), "tif"))
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    places = {
        struct.unpack_from("<H", content, place)[0]: place for place in range(start + 2, start + 2 + 12 * count, 12)
    }
    struct.pack_into("<HHII", content, places[284], 257, 3, 1, 1)
    struct.pack_into("<I", content, places[273] + 8, len(content) - 100)  # few of the pixels lie behind that
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert size(path) == (64, 48)
    with pytest.raises(DecodeError):
        decode(path)


def test_webp_metadata_that_are_cut() -> None:
    content = encoded(noise(), "webp", lossless=True, xmp=b"x" * 1000)[:-500]
    content = b"RIFF" + struct.pack("<I", len(content) - 8) + content[8:]
    assert (np.asarray(decode("a", content)) == np.asarray(noise())).all()


def test_jpeg_metadata() -> None:
    """Segments of every kind, some of them cut inside, and one that ends the search for others in Pillow."""
    whole = encoded(noise(), "jpg", quality=95)
    segments = [bytes([0xFF, 0xE0 + number]) + struct.pack(">H", 2 + 40) + bytes(40) for number in range(1, 16)]
    segments += [b"\xff\xe2" + struct.pack(">H", 2 + 12) + b"ICC_PROFILE\0", b"\xff\xed\0\x10Photoshop 3.0\0"]
    content = whole[:2] + b"".join(segments) + whole[2:]
    assert (np.asarray(decode("a", content)) == np.asarray(decode("a", whole))).all()


# -- claims


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
@pytest.mark.parametrize("claimed", [(64, 2000), (2000, 48), (64, 56 + 16), (3000, 4000)])
def test_a_jpeg_that_claims_more(mode: str, options: dict[str, int], claimed: tuple[int, int]) -> None:
    whole = encoded(noise(mode=mode), "jpg", **options)
    assert decode("a", whole).size == (64, 48)
    for way in (decode, rgbx):
        with pytest.raises(DecodeError, match=f"claims {claimed[0]} x {claimed[1]} pixels, its data hold less"):
            way("a", jpeg_claiming(whole, *claimed))


def test_a_cut_jpeg_with_an_end_marker_is_no_picture() -> None:
    whole = encoded(noise(), "jpg")
    with pytest.raises(DecodeError, match="hold less: premature end"):
        decode("a", whole[: len(whole) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("gray", [126, 127, 128, 129])
def test_a_gray_corner_is_no_damage(gray: int) -> None:
    image = noise()
    image.paste((gray, gray, gray), (16, 16, 64, 48))
    assert decode("a", encoded(image, "jpg", quality=95)).size == (64, 48)
    assert decode("a", encoded(image, "jpg", quality=95) + b"more").size == (64, 48)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_a_png_that_claims_more(mode: str) -> None:
    whole = encoded(noise(mode=mode), "png")
    assert decode("a", whole).size == (64, 48)
    with pytest.raises(DecodeError, match="claims 64 x 2000 pixels, its data hold less"):
        decode("a", png_claiming(whole, 64, 2000))


def test_a_png_that_ends_in_black_is_whole() -> None:
    image = noise()
    image.paste((0, 0, 0), (0, 20, 64, 48))
    assert decode("a", encoded(image, "png")).getpixel((63, 47)) == (0, 0, 0)


def test_a_gif_whose_frame_is_a_small_part() -> None:
    whole = encoded(noise(), "gif")
    with pytest.raises(DecodeError, match="claims 64 x 2000 pixels, its data hold less: the first frame has 64 x 48"):
        decode("a", whole[:8] + struct.pack("<H", 2000) + whole[10:])


def test_a_tiff_with_strips_that_are_missing_or_short() -> None:
    pixels = bytes(range(48))
    assert values(tiff(pixels, 6, 8, 8)) == list(range(6))
    for tags, reason in (
        ({257: (4, [80])}, "1 strips are there, 10 are needed"),
        ({279: (4, [40])}, "strip 0 holds 40 bytes, 48 are needed"),
    ):
        with pytest.raises(DecodeError, match=reason):
            decode("a", tiff(pixels, 6, 8, 8, {278: (4, [8])} | tags))
    assert values(tiff(pixels, 6, 8, 8, {279: (4, [0])})) == list(range(6))  # nobody filled it in


def test_a_tiff_of_jpegs_that_are_smaller_or_cut() -> None:
    whole = encoded(noise(), "tif", compression="jpeg")
    assert decode("a", whole).size == (64, 48)
    (start,) = struct.unpack_from("<I", whole, 4)
    for tag, value, reason in ((257, 2000, "claims 64 x 2000"), (279, 300, "part 0: ")):
        content = bytearray(whole)
        for position in range(start + 2, start + 2 + 12 * whole[start], 12):
            if struct.unpack_from("<H", content, position)[0] in (tag, 278 if tag == 257 else tag):
                content[position + 2 : position + 12] = struct.pack("<HII", 4, 1, value)
        with pytest.raises(DecodeError, match=reason):
            decode("a", bytes(content))


def test_a_jpeg_2000_without_some_of_its_tiles() -> None:
    whole = encoded(noise(), "jp2")
    where = whole.index(b"\xff\x51") + 6
    content = whole[:where] + struct.pack(">II", 640, 48) + whole[where + 8 :]
    content = content.replace(b"ihdr" + struct.pack(">II", 48, 64), b"ihdr" + struct.pack(">II", 48, 640))
    with pytest.raises(DecodeError, match="1 tiles are there, 10 are needed"):
        decode("a", content)


# -- sizes


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_picture(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    path.write_bytes(encoded(noise(), ending, exif=exif))
    assert size(path) == decode(path).size == ((64, 48) if orientation < 5 else (48, 64))


def test_the_size_of_a_png_whose_exif_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    whole, path = encoded(noise(), "png"), tmp_path / "a.png"
    path.write_bytes(whole[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + whole[-12:])
    assert size(path) == decode(path).size == (48, 64)
    path.write_bytes(whole)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    assert size(path) == (64, 48)


# -- white


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_in_which_0_is_white(order: str) -> None:
    white = {262: (3, [0])}
    assert values(tiff(b"\xf0", 8, 1, 1, white, order)) == [0] * 4 + [255] * 4
    assert values(tiff(bytes([0, 100, 255]), 3, 1, 8, white, order)) == [255, 155, 0]
    pixels = struct.pack(f"{order}3H", 0, 20000, 65535)
    assert values(tiff(pixels, 3, 1, 16, {}, order)) == [0, 78, 255]
    assert values(tiff(pixels, 3, 1, 16, white, order)) == [255, 177, 0]


def test_packed_12_bits_are_scaled_by_their_own_white() -> None:
    pixels = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00])  # 0, 2048, 4095, 0
    assert values(tiff(pixels, 4, 1, 12)) == [0, 128, 255, 0]
    assert values(tiff(pixels, 4, 1, 12, {262: (3, [0])})) == [255, 127, 0, 255]


@pytest.mark.parametrize(
    ("bits", "kind", "reason"),
    [
        (16, 2, "signed pixels"),
        (32, 1, "32-bit"),
        (32, 3, "32-bit floating-point"),
        (16, 3, "16 bits, floating-point numbers, cannot be read; convert"),
        (64, 3, "64 bits, floating-point numbers, cannot be read; convert"),
    ],
)
def test_tiffs_without_an_agreed_white_are_refused(bits: int, kind: int, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode("a", tiff(bytes(bits), 8, 1, bits, {339: (3, [kind])}))
