"""Which images are equal: by file, link and bytes, of files, shards and pixels; and how few files are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lewel.data import contents
from lewel.data.cifar import Pixels
from lewel.data.contents import equal, of_files, of_pixels


def files(folder: Path, *names: str) -> contents.Contents:
    return of_files(len(names), lambda index: folder / names[index])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a, b and c are of one size; long differs from also_long in its last byte only."""
    for name, content in {"a": b"one", "b": b"two", "c": b"six", "long": b"x" * 20_000 + b"1"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "also_long").write_bytes(b"x" * 20_000 + b"2")
    return tmp_path


def leaked(train: contents.Contents, val: contents.Contents) -> list[bool]:
    of_train, of_val = equal(train, val)
    assert len(of_train) == len(train.sizes) and len(of_val) == len(val.sizes)
    return np.isin(of_val, of_train).tolist()


def test_apart(folder: Path) -> None:
    assert leaked(files(folder, "a", "long"), files(folder, "b", "c", "also_long")) == [False] * 3


def test_paths_links_and_copies(folder: Path) -> None:
    (folder / "copy").write_bytes(b"one")
    (folder / "long_copy").write_bytes((folder / "long").read_bytes())
    os.link(folder / "a", folder / "hard")
    (folder / "soft").symlink_to("a")
    train = files(folder, "a", "b", "long")
    val = files(folder, "a", "../" + folder.name + "/a", "hard", "soft", "copy", "c", "long_copy", "also_long")
    assert leaked(train, val) == [True] * 5 + [False, True, False]


def test_a_folder_that_is_a_link(folder: Path) -> None:
    (folder / "val").symlink_to(".", target_is_directory=True)
    assert leaked(files(folder, "a", "b"), files(folder, "val/b", "val/c")) == [True, False]


def test_val_by_itself(folder: Path) -> None:
    """Twice the same name, and a copy; train has neither."""
    (folder / "copy").write_bytes(b"two")
    _, of_val = equal(files(folder, "a"), files(folder, "b", "c", "b", "copy"))
    assert of_val[0] == of_val[2] == of_val[3] != of_val[1]


def test_what_cannot_be_read_equals_nothing(folder: Path) -> None:
    for name in ("empty", "also_empty"):
        (folder / name).touch()
    os.mkfifo(folder / "pipe")
    names = ("empty", "also_empty", "pipe", "not there", "nul\0")
    assert leaked(files(folder, *names), files(folder, *names)) == [False] * 5
    _, of_val = equal(files(folder, "a"), files(folder, *names))
    assert len(set(of_val.tolist())) == 5


def test_only_files_of_a_size_that_val_has_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    reading = contents._read
    monkeypatch.setattr(contents, "_read", lambda file, digest: read.append(Path(file).name) or reading(file, digest))
    (folder / "copy").write_bytes(b"one")
    os.link(folder / "long", folder / "hard")
    leaked(files(folder, "a", "b", "long", "also_long"), files(folder, "copy", "hard"))
    assert sorted(read) == ["a", "a", "b", "copy", "copy"]  # b is told apart by its middle; the link needs no look


def test_without_inodes_bytes_decide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_status", lambda file: (-1, -1, os.path.getsize(file)))
    assert leaked(files(folder, "a", "b"), files(folder, "a", "c")) == [True, False]


def test_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3)).astype(np.uint8)
    pixels[5] = pixels[1]
    of_train, of_val = equal(of_pixels(Pixels("train", pixels[:3])), of_pixels(Pixels("val", pixels[3:])))
    assert np.isin(of_val, of_train).tolist() == [False, False, True] and of_train[1] == of_val[2]


def test_against_every_pair() -> None:
    """Random bytes of few kinds and sizes, some files twice: as by comparing all pairs."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 2, (200, 2, 1, 3)).astype(np.uint8)
    of_train, of_val = equal(of_pixels(Pixels("t", pixels[:120])), of_pixels(Pixels("v", pixels[120:])))
    rows = [row.tobytes() for row in pixels]
    for one in range(80):
        for two in range(200):
            number = of_train[two] if two < 120 else of_val[two - 120]
            assert (number == of_val[one]) == (rows[two] == rows[120 + one])
