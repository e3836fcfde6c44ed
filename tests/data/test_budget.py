"""The limits of time and memory on one image: from the header alone, and the same on every machine."""

from __future__ import annotations

import struct
import time

import pytest
from pictures import encoded, jpeg_claiming, noise, png_claiming, scans_repeated
from PIL import Image, ImageFile

from lewel.data import budget
from lewel.data.decode import DecodeError, decode, rgbx
from lewel.data.formats import jpeg
from lewel.errors import UserError

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_of_thousands_of_scans_is_not_decoded(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = scans_repeated(encoded(Image.new(mode, (512, 512)), "jpg", progressive=True), 40_000)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    began = time.process_time()
    for way in (decode, rgbx):
        with pytest.raises(DecodeError, match=r"512 x 512 pixels in 40,0\d\d scans take about \d\d s to decode, more"):
            way("a", content)
    assert time.process_time() - began < 5  # 0.2 s


def test_a_sequential_jpeg_of_many_scans_costs_as_much() -> None:
    """Each component in a scan of its own, the last one again and again."""
    content = jpeg_claiming(encoded(noise(mode="L"), "jpg"), 8000, 8000)
    scan = content[content.index(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    one, many = jpeg.cost(content), jpeg.cost(content[:-2] + scan * 999 + b"\xff\xd9")
    assert (one.scans, many.scans) == (1, 1000)
    assert one.seconds < 1 < 50 < many.seconds


def test_ordinary_large_photographs_are_within() -> None:
    """A progressive JPEG of 100 megapixels and 30 MB, as cameras and websites make them."""
    content = jpeg_claiming(encoded(noise(), "jpg", progressive=True), 10_000, 10_000)
    cost = jpeg.cost(content.replace(b"\xff\xd9", b"") + bytes(30_000_000))
    assert cost.scans == 10
    assert 2 < cost.seconds < 10
    assert cost.bytes == pytest.approx(2 * 1.5 * 10_000**2, rel=0.01)  # 4:2:0


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("LEWEL_IMAGE_SECONDS", "0.0001", r"64 x 48 pixels take about 0 s to decode, more than 0.0001 s \(LEWEL_IM"),
        ("LEWEL_IMAGE_GB", "0.000001", r"64 x 48 pixels take about 0.0 GB to decode, more than 1e-06 GB \(LEWEL_IM"),
    ],
)
def test_the_environment_sets_the_limits(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(noise(), "png")
    assert decode("a", content).size == (64, 48)
    monkeypatch.setenv(name, value)
    with pytest.raises(DecodeError, match=reason):
        decode("a", content)
    monkeypatch.setenv(name, "much")
    with pytest.raises(UserError, match=f"{name}=much: must be a number above 0"):
        decode("a", content)


def test_the_limits_are_10_seconds_and_a_gigabyte() -> None:
    assert budget.limits() == (10.0, 1e9)


def test_memory_counts_all_copies() -> None:
    """150 megapixels fit as RGB, 4 bytes each; not where an alpha channel is laid on white besides."""
    rgb, gray = (encoded(noise(mode=mode), "png") for mode in ("RGB", "LA"))
    with pytest.raises(DecodeError, match=r"hold less|truncated|unrecognized"):
        decode("a", png_claiming(rgb, 15_000, 10_000))
    with pytest.raises(DecodeError, match=r"15000 x 10000 pixels take about 1.2 GB to decode, more than 1 GB"):
        decode("a", png_claiming(gray, 15_000, 10_000))


def test_formats_that_are_decoded_in_python() -> None:
    """Run-length BMPs and PPMs as text take a microsecond a byte or sample."""
    text = b"P2 5000 5000 255\n" + b"1 " * 100
    with pytest.raises(DecodeError, match="take about 50 s"):
        decode("a", text)
    head = struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024)
    body = struct.pack("<IiiHHIIiiII", 40, 3000, 3000, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    with pytest.raises(DecodeError, match="take about 21 s"):
        decode("a", b"BM" + head + body + b"\1\1" * 10_500_000)
