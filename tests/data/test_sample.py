"""The digest of a sample: other bytes are other images, wherever they lie and however they are stored."""

from __future__ import annotations

import zlib
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


def test_the_contents_are_checksums_by_name_of_a_sample_or_a_digest_of_all(tmp_path: Path) -> None:
    contents = [b"%d" % number for number in range(600)]
    images, other = files(tmp_path / "a", contents), files(tmp_path / "b", [*contents[:7], b"x", *contents[8:]])
    found = sample.contents(images)
    assert len(found) == sample.CONTENTS and found["0000.png"] == zlib.crc32(b"0")
    assert sample.contents(other) == found and sample.digest_of_all(other) != sample.digest_of_all(images)
    assert sample.digest_of_all(files(tmp_path / "c", contents)) == sample.digest_of_all(images)


def test_pixels_count_all() -> None:
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    other = pixels.copy()
    other[2, 1, 1, 2] = 1
    assert sample.digest(Pixels("a", pixels)) != sample.digest(Pixels("a", other))
    assert sample.contents(Pixels("a", pixels)) == {}
