"""The digest of a sample: other bytes are other images, wherever they lie and however they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lewel.data import sample
from lewel.data.cifar import Pixels
from lewel.data.folder import Files
from lewel.data.names import Names


def files(root: Path, contents: list[bytes]) -> Files:
    root.mkdir(parents=True)
    names = [f"{number:04d}.png" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (root / name).write_bytes(content)
    return Files(str(root), Names.of(names))


def test_other_bytes_and_other_sizes_are_seen(tmp_path: Path) -> None:
    contents = [b"%d" % (number % 7) for number in range(300)]
    first = sample.digest(files(tmp_path / "a", contents))
    assert sample.digest(files(tmp_path / "b", contents)) == first
    assert sample.digest(files(tmp_path / "c", [b"9", *contents[1:]])) != first
    longer = [*contents[:-1], contents[-1] + b"0"]
    assert sample.digest(files(tmp_path / "d", longer)) != first


def test_it_reads_few_files(tmp_path: Path) -> None:
    images = files(tmp_path / "a", [b"x"] * 1000)
    read: list[int] = []

    class Watched(Files):
        def crcs(self, indices):
            read.extend(indices)
            return super().crcs(indices)

    sample.digest(Watched(images.root, images.names))
    assert len(read) == sample.CONTENTS and read[0] == 0 and read[-1] == 999


def test_a_file_that_is_gone_is_no_error(tmp_path: Path) -> None:
    images = files(tmp_path / "a", [b"x", b"y"])
    before = sample.digest(images)
    Path(images.file(1)).unlink()
    assert sample.digest(images) != before


def test_pixels_count_all() -> None:
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    other = pixels.copy()
    other[2, 1, 1, 2] = 1
    assert sample.digest(Pixels("a", pixels)) != sample.digest(Pixels("a", other))
