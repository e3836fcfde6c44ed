"""What is written is read again, in order; a sheet has both pictures and room for its words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from lewel.evaluate.dense.gallery import Case, Shown, read, sheet, write

RED, BLUE = (Image.new("RGB", (200, 100), colour) for colour in ("red", "blue"))


def test_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = write(tmp_path, [Case("b.jpg", "F1 0.00", RED, BLUE), Case("a\udce9.jpg", "F1 0.50", BLUE, RED)])
    folder = tmp_path / "gallery"
    assert written == [folder / "000.jpg", folder / "001.jpg", folder / "gallery.json"]
    assert read(tmp_path) == [
        Shown(folder / "000.jpg", "b.jpg", "F1 0.00"),
        Shown(folder / "001.jpg", "a\\xe9.jpg", "F1 0.50"),
    ]
    with Image.open(folder / "000.jpg") as found:
        pixels = np.asarray(found).astype(int)
    assert np.abs(pixels[50, 50] - (255, 0, 0)).max() < 4 and np.abs(pixels[50, 350] - (0, 0, 255)).max() < 4
    assert sorted(path.name for path in folder.iterdir()) == ["000.jpg", "001.jpg", "gallery.json"]


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    write(tmp_path, [])
    assert read(tmp_path) == []
    write(tmp_path, [Case("a", "", RED, BLUE)])
    (tmp_path / "gallery/000.jpg").unlink()
    assert read(tmp_path) == []
    (tmp_path / "gallery/gallery.json").write_text(json.dumps([])[:1])
    assert read(tmp_path) == []


def test_words_stay_inside() -> None:
    long = Case(
        "n" * 300 + ".jpg", "score " * 30, RED, BLUE, tuple((f"class {number}", (9, 9, 9)) for number in range(30))
    )
    short = Case("n.jpg", "", RED, BLUE)
    pixels = np.asarray(sheet(long)).astype(int)
    assert pixels.shape[1] == sheet(short).width == 406 and pixels.shape[0] > sheet(short).height + 50
    assert (pixels[110:, -1] == 255).all() and (pixels[110:, 0] == 255).all()


def test_pictures_of_two_sizes_stand_side_by_side() -> None:
    tall = Image.new("RGB", (50, 300), "green")
    assert sheet(Case("a", "", RED, tall)).size == (256, 340)
