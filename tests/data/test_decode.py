"""Every kind of file that a data set can hold: shown as a viewer would show it, or a reason why not."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from lewel.data import decode as module
from lewel.data.decode import DecodeError, decode, printable, rgbx

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")  # pytest takes back the filters of what it imports


def picture(seed: int = 0, size: tuple[int, int] = (12, 8)) -> Image.Image:
    """A smooth picture in which all four corners differ, so that every turn shows."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BILINEAR)


def pixels(path: Path) -> np.ndarray:
    image = decode(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_pillows_warnings_are_silenced_without_a_change_of_filters(tmp_path: Path) -> None:
    """Filters belong to the whole process, and threads decode."""
    path = tmp_path / "a.png"
    picture(size=(5, 3)).save(path)
    assert module._decoded(path, None, lambda *_: warnings.filters) is warnings.filters
    code = f"""
import warnings
from PIL import Image
from lewel.data.decode import decode
Image.MAX_IMAGE_PIXELS = 10  # a picture of 15 pixels is warned of
decode({str(path)!r})
try:
    warnings.warn("another one's")
except UserWarning:
    print("raised")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("raised\n", "")


# -- shown


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "tif", "ppm", "gif", "jpg", "jp2", "avif"])
def test_formats(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    options = {
        "webp": {"lossless": True},
        "jpg": {"quality": 100, "subsampling": "4:4:4"},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
    }.get(ending, {})
    picture().save(path, **options)
    error = np.abs(pixels(path).astype(int) - np.asarray(picture())).mean()
    assert error <= (0 if ending in ("png", "bmp", "webp", "tif", "ppm", "jp2") else 6)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, ending: str) -> None:
    """The eight orientations of the EXIF standard: where the file's row 0 and column 0 are seen."""
    stored = np.asarray(picture())
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    picture().save(path, exif=exif, **({"quality": 100, "subsampling": 0} if ending == "jpg" else {"lossless": True}))
    assert pixels(path).shape == upright.shape
    assert np.abs(pixels(path).astype(int) - upright).max() <= (8 if ending == "jpg" else 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"])
def test_broken_exif_is_no_reason_to_skip(tmp_path: Path, exif: bytes) -> None:
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert pixels(tmp_path / "a.jpg").shape == (8, 12, 3)


def test_cmyk_and_gray_and_binary(tmp_path: Path) -> None:
    picture().convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    assert np.abs(pixels(tmp_path / "c.jpg").astype(int) - np.asarray(picture())).mean() < 6
    gray = picture().convert("L")
    gray.save(tmp_path / "g.png")
    assert (pixels(tmp_path / "g.png") == np.asarray(gray)[..., None]).all()
    binary = picture().convert("1")
    binary.save(tmp_path / "b.png")
    assert (pixels(tmp_path / "b.png") == 255 * np.asarray(binary, dtype=np.uint8)[..., None]).all()


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 128, 129, 255, 256, 40000, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{ending}")
    assert pixels(tmp_path / f"a.{ending}")[0, :, 0].tolist() == [0, 0, 1, 1, 1, 156, 255]


def test_16_bit_rgb_is_scaled(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">3H", 0, 40000, 65535)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    assert np.abs(pixels(tmp_path / "a.png")[0, 0].astype(int) - [0, 156, 255]).max() <= 1


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = 0, 127, 255  # black: absent, half, whole
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert pixels(tmp_path / "rgba.png")[0, :, 0].tolist() == [255, 128, 0]
    Image.fromarray(rgba).convert("LA").save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png")[0, :, 0].tolist() == [255, 128, 0]


def test_transparent_colour_keys(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 9]], dtype=np.uint8)).save(tmp_path / "l.png", transparency=7)
    assert pixels(tmp_path / "l.png")[0, :, 0].tolist() == [255, 9]
    Image.fromarray(np.array([[700, 65535 // 5]], dtype=np.uint16)).save(tmp_path / "i.png", transparency=700)
    assert pixels(tmp_path / "i.png")[0, :, 0].tolist() == [255, 51]
    rgb = np.array([[[1, 2, 3], [1, 2, 4]]], dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    assert pixels(tmp_path / "rgb.png").tolist() == [[[255, 255, 255], [1, 2, 4]]]


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "p.png")
    assert pixels(tmp_path / "p.png").tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    image.save(tmp_path / "t.png", transparency=1)
    assert pixels(tmp_path / "t.png").tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_an_animation_is_its_first_frame(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **options)
    assert (pixels(tmp_path / f"a.{ending}") == [255, 0, 0]).all()


def test_wrong_ending(tmp_path: Path) -> None:
    """The content decides, not the name."""
    picture().save(tmp_path / "a.jpg", format="PNG")
    assert (pixels(tmp_path / "a.jpg") == np.asarray(picture())).all()


# -- refused


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp", "tif", "jp2", "ppm"])
def test_truncated_anywhere(tmp_path: Path, ending: str) -> None:
    """Cut in half is an error in every format, and at no length anything else than an error or the whole picture."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    whole = tmp_path / f"whole.{ending}"
    noise.save(whole)
    content, shown = whole.read_bytes(), pixels(whole)
    path = tmp_path / f"cut.{ending}"
    for length in np.linspace(1, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:length])
        try:
            result = pixels(path)
        except DecodeError as error:
            assert error.path == path and error.reason and "\n" not in error.reason
        else:
            assert length > 0.9 * len(content)
            assert result.shape == shown.shape
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError):
        decode(path)


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for ending in ("jpg", "png", "gif", "tif", "webp", "bmp", "jp2"):
        whole = tmp_path / f"whole.{ending}"
        picture().save(whole)
        content = np.frombuffer(whole.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[rng.integers(0, len(damaged), 6)] = rng.integers(0, 256, 6)
            (tmp_path / f"d.{ending}").write_bytes(damaged.tobytes())
            try:
                assert decode(tmp_path / f"d.{ending}").mode == "RGB"
            except DecodeError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is text\n" * 100, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (png_claiming(60_000, 60_000), "more than"),
        (png_claiming(14_000, 14_000), "more than"),
    ],
    ids=["empty", "text", "postscript", "60,000 x 60,000", "14,000 x 14,000"],
)
def test_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=reason):
        decode(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("ending", ["bmp", "gif", "tif", "jpg"])
def test_a_false_claim_is_found_in_the_header(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decoded: with a limit of 50 pixels, the loading of 96 would fail this test."""
    picture().save(tmp_path / f"a.{ending}")
    monkeypatch.setattr(module, "PIXEL_LIMIT", 50)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DecodeError, match="claims 12 x 8 pixels, more than 50"):
        decode(tmp_path / f"a.{ending}")


def test_32_bit_pixels_have_no_white(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.ones((2, 2), np.int32)).save(tmp_path / "i.tif")
    for name in ("f.tif", "i.tif"):
        with pytest.raises(DecodeError, match="32-bit"):
            decode(tmp_path / name)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(DecodeError, match="not a regular file"):
        decode(tmp_path)
    os.symlink("nowhere.jpg", tmp_path / "broken.jpg")
    with pytest.raises(DecodeError, match="no such file"):
        decode(tmp_path / "broken.jpg")
    with pytest.raises(DecodeError, match="not a regular file"):
        decode("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    start = time.monotonic()
    with pytest.raises(DecodeError, match="not a regular file"):
        decode(tmp_path / "a.jpg")
    assert time.monotonic() - start < 2


def test_files_are_opened_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path)
    flags, real = [], os.open
    monkeypatch.setattr(os, "open", lambda name, flag, *rest, **more: (flags.append(flag), real(name, flag, *rest))[1])
    monkeypatch.setattr(builtins, "open", lambda *a, **k: pytest.fail("opened otherwise"))
    decode(path)
    assert len(flags) == 1
    assert not flags[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


# -- names


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n.png")
    with open(name, "wb") as file:
        picture().save(file, "PNG")
    path = os.fsdecode(name)
    assert (pixels(Path(path)) == np.asarray(picture())).all()
    assert printable(path) == f"{tmp_path}/caf\\xe9\\n.png"
    with open(name, "wb"):
        pass
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert str(caught.value).encode("utf-8") == f"{tmp_path}/caf\\xe9\\n.png: empty file".encode()


def test_printable_keeps_what_can_be_read() -> None:
    assert printable("Müller/猫 1.jpg") == "Müller/猫 1.jpg"


def test_the_error_travels_between_processes() -> None:
    again = pickle.loads(pickle.dumps(DecodeError("a.jpg", "empty file")))
    assert (again.path, again.reason, str(again)) == ("a.jpg", "empty file", "a.jpg: empty file")


# -- pixels alone


def both_ways(path: Path) -> tuple[object, object]:
    """What `decode` and `rgbx` make of a file: pixels, or the reason why not."""
    found = []
    for way in (decode, rgbx):
        try:
            found.append(np.asarray(way(path))[..., :3].tolist())
        except DecodeError as error:
            found.append(str(error))
    return found[0], found[1]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_bit_for_bit_as_by_pillow(tmp_path: Path, subsampling: str, progressive: bool) -> None:
    rng = np.random.default_rng(0)
    for number, size in enumerate([(1, 1), (7, 5), (16, 16), (33, 17), (1, 40), (129, 64)]):
        path, noise = tmp_path / f"{number}.jpg", rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        for quality in (10, 75, 100):
            Image.fromarray(noise).save(path, quality=quality, subsampling=subsampling, progressive=progressive)
            pillows, ours = both_ways(path)
            assert ours == pillows and isinstance(ours, list)


def test_a_plain_jpeg_is_not_decoded_by_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.jpg")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded by Pillow"))
    assert rgbx(tmp_path / "a.jpg").shape == (8, 12, 4)


def test_everything_else_is_as_decoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "turned.jpg", exif=exif)
    picture().save(tmp_path / "broken-exif.jpg", exif=b"Exif\0\0garbage")
    picture().convert("CMYK").save(tmp_path / "cmyk.jpg")
    picture().convert("L").save(tmp_path / "gray.jpg")
    picture().convert("RGBA").save(tmp_path / "a.png")
    picture().save(tmp_path / "more-after-its-end.jpg")
    with open(tmp_path / "more-after-its-end.jpg", "ab") as file:
        file.write(b"more")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for path in [*sorted(tmp_path.iterdir()), tmp_path / "missing.jpg", tmp_path]:
        pillows, ours = both_ways(path)
        assert ours == pillows, path
    for path in (tmp_path / "a.png", tmp_path / "turned.jpg", tmp_path / "broken-exif.jpg"):
        assert rgbx(path).flags.writeable  # PyTorch warns of what is not


def test_damaged_jpegs_are_as_decoded(tmp_path: Path) -> None:
    """Cut, or with wrong bytes: the same pixels where Pillow forgives, the same reason where it does not."""
    picture(size=(48, 40)).save(tmp_path / "whole.jpg", quality=90)
    whole, path = np.frombuffer((tmp_path / "whole.jpg").read_bytes(), np.uint8), tmp_path / "damaged.jpg"
    rng, forgiven = np.random.default_rng(0), 0
    for number in range(200):
        damaged = whole[: rng.integers(1, len(whole))].copy() if number % 4 == 0 else whole.copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        pillows, ours = both_ways(path)
        assert ours == pillows
        forgiven += isinstance(ours, list)
    assert 20 < forgiven < 180
