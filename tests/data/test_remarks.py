"""What is told of images that are read: several frames, and 16 bits of which few are used."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, jpeg_claiming, noise, tiff
from PIL import Image

from lewel.data import remarks
from lewel.data.decode import decode
from lewel.data.images import open_images
from lewel.data.loader import evaluation_batches


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    remarks.forget()


def animation(ending: str) -> bytes:
    frames = [noise(), noise().rotate(90), noise().rotate(180)]
    return encoded(frames[0], ending, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif", "avif"])
def test_frames_are_counted(ending: str) -> None:
    decode("one", encoded(noise(), ending))
    decode("a", animation(ending))
    decode("a", animation(ending))
    assert remarks.take() == [("frames", "a", (3,))]


def test_a_chain_of_pages_that_returns_ends() -> None:
    content = bytearray(tiff(bytes(48), 6, 8, 8))
    content[-4:] = struct.pack("<I", 8 + 48)  # the next page is the first
    decode("a", bytes(content))
    assert remarks.take() == []


@pytest.mark.parametrize("white", [255, 4095, 16383, 16384, 65535])
def test_16_bits_of_which_few_are_used(white: int) -> None:
    values = np.linspace(3, white, 48).astype(np.uint16).reshape(6, 8)
    for ending in ("png", "tif"):
        decode(ending, encoded(Image.fromarray(values), ending))
    expected = [("dark", ending, (3, white)) for ending in ("png", "tif")]
    assert remarks.take() == (expected if white < 16384 else [])


def test_16_bit_colours() -> None:
    """Of their upper 8 bits."""
    values = struct.pack("<6H", 0, 1000, 4095, 4095, 2000, 300)
    three = {258: (3, [16, 16, 16]), 262: (3, [2]), 277: (3, [3])}
    decode("a", tiff(values, 2, 1, 16, three))
    decode("b", tiff(bytes(6), 2, 1, 8, three | {258: (3, [8, 8, 8])}))
    assert remarks.take() == [("dark", "a", (0, 4095))]


def test_another_command_in_the_process_tells_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.gif").write_bytes(animation("gif"))
        remarks.forget()
        list(evaluation_batches(open_images(tmp_path / name), 32, 3, 0))
    assert [record.message.rpartition(" ")[0] for record in caplog.records if record.name == remarks.__name__] == [
        f"1 image has several frames or pages; the first is taken: {tmp_path}/{name}/a.gif"
        for name in ("first", "second")
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_line_for_each_kind(workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(4):
        (tmp_path / f"{number}.gif").write_bytes(animation("gif"))
    values = np.full((6, 8), 4000, np.uint16)
    (tmp_path / "dark.png").write_bytes(encoded(Image.fromarray(values), "png"))
    (tmp_path / "plain.jpg").write_bytes(encoded(noise(), "jpg"))
    (tmp_path / "cut.jpg").write_bytes(jpeg_claiming(encoded(noise(), "jpg"), 640, 480))
    for _ in range(2):
        list(evaluation_batches(open_images(tmp_path), 32, 3, workers))
    assert [record.message for record in caplog.records if record.name == remarks.__name__] == [
        f"4 images have several frames or pages; the first is taken: {tmp_path}/0.gif (3), {tmp_path}/1.gif (3), "
        f"{tmp_path}/2.gif (3), ...",
        "1 image of 16 bits a channel with values from 4,000 to 4,000 only (12 bits): 65,535 is white, so they look "
        f"nearly black; multiply the values by 16: {tmp_path}/dark.png",
    ]
