"""For any bytes: an image of the size that the header tells, or a DecodeError of one line, quickly."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, noise, scans_repeated, tiff
from PIL import Image

from lewel.data.decode import DecodeError, decode, rgbx, size

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

SEEDS = {
    "jpg": encoded(noise(24, 16), "jpg"),
    "progressive": scans_repeated(encoded(noise(24, 16), "jpg", progressive=True), 2),
    "png": encoded(noise(24, 16, "RGBA"), "png"),
    "palette": encoded(noise(24, 16, "P"), "png", transparency=3),
    "gif": encoded(noise(24, 16), "gif", save_all=True, append_images=[noise(24, 16, "L")]),
    "webp": encoded(noise(24, 16), "webp", exif=Image.Exif().tobytes()),
    "bmp": encoded(noise(24, 16, "P"), "bmp"),
    "tif": encoded(noise(24, 16), "tif"),
    "lzw": encoded(noise(24, 16, "L"), "tif", compression="tiff_lzw"),
    "white": tiff(bytes(range(96)), 6, 8, 16, {262: (3, [0])}),
    "ppm": encoded(noise(24, 16), "ppm"),
    "jp2": encoded(noise(24, 16), "jp2"),
}
EACH = 24


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Some bytes set to others or to limits, a part taken out or doubled, or the end cut off."""
    data, kind = np.frombuffer(content, np.uint8).copy(), random.integers(4)
    start, end = sorted(random.integers(0, len(data), 2))
    if kind == 0:
        data[random.integers(0, len(data), 4)] = random.integers(0, 256, 4)
    elif kind == 1:  # headers are at the front, a TIFF's at the end
        where = random.integers(0, min(64, len(data)), 2) * random.choice([1, -1])
        data[where] = random.choice([0, 1, 127, 128, 255], 2)
    elif kind == 2:
        data = (
            np.concatenate([data[:start], data[end:]])
            if random.random() < 0.5
            else np.insert(data, end, data[start:end])
        )
    else:
        data = data[: max(1, start)]
    return data.tobytes()


@pytest.mark.parametrize("name", SEEDS)
def test_any_bytes(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random, path, read = np.random.default_rng(list(name.encode())), tmp_path / "a", 0
    began = time.process_time()
    for _ in range(EACH):
        content = mutated(SEEDS[name], random)
        path.write_bytes(content)
        try:
            picture = decode(path)
        except DecodeError as error:
            assert error.reason and "\n" not in error.reason
            with pytest.raises(DecodeError):
                rgbx(path, content)
            continue
        read += 1
        assert picture.mode == "RGB" and picture.size == size(path)
        assert (rgbx(path, content)[..., :3] == np.asarray(picture)).all()
    assert time.process_time() - began < 5  # 0.1 s
    assert read < EACH
