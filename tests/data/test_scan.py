"""What lies beside the images of a folder: left out, counted by kind, and told in one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel.data import own_pictures, scan
from lewel.data.images import open_images
from lewel.data.scan import find
from lewel.visualize import style


def put(root: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_other_files_are_counted_by_extension(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/1.HEIC", "b/2.heic", "b/crawled", "b/2.jpg", "x.txt", "Thumbs.db", "b/desktop.ini")
    names, left_out = find(tmp_path)
    assert names == ["a/1.jpg", "b/2.jpg"]
    assert left_out.others == {".heic": 2, "no extension": 1, ".txt": 1}  # what a system writes tells nothing
    told = left_out.sentence()
    assert told.startswith("left out: 4 other files (2 x .heic, 1 x ") and ".heic can be used once" in told
    (note,) = open_images(tmp_path).notes
    assert note == f"{tmp_path}: {told}"


def test_a_folder_of_images_alone_tells_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    assert find(tmp_path).left_out.sentence() == "" and open_images(tmp_path).notes == ()


@pytest.mark.parametrize("folder", [".thumbnails", "a/@eaDir/1.jpg", "__MACOSX", "lost+found", "a/.ipynb_checkpoints"])
def test_folders_of_systems_hold_no_images(tmp_path: Path, folder: str) -> None:
    put(tmp_path, "a/1.jpg", f"{folder}/deep/2.jpg", f"{folder}/3.PNG", f"{folder}/4.txt")
    names, left_out = find(tmp_path)
    assert names == ["a/1.jpg"] and left_out.in_folders.total() == 2
    (named,) = left_out.in_folders
    assert left_out.sentence() == f"left out: 2 images in hidden or system folders ({named})"
    assert named in folder.split("/")


def test_a_snapshot_folder_is_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.jpg", *(f".snapshot/{number}/1.jpg" for number in range(9)))
    monkeypatch.setattr(scan, "_HIDDEN_FOLDERS", 4)
    left_out = find(tmp_path).left_out
    assert left_out.in_folders == {".snapshot": 3}  # itself and three of nine
    assert "at least 3 images in hidden" in left_out.sentence()


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("loop.jpg", tmp_path / "a/loop.jpg")
    os.symlink("nothing.jpg", tmp_path / "a/gone.jpg")
    os.symlink("2.jpg", tmp_path / "b/good.jpg")
    names, left_out = find(tmp_path)
    assert names == ["a/1.jpg", "b/2.jpg", "b/good.jpg"]
    assert left_out.sentence() == "left out: 3 links that lead nowhere (a/gone.jpg, a/loop.jpg, loop)"


def test_hidden_images_are_told(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/._1.jpg", "a/.DS_Store")
    assert find(tmp_path).left_out.sentence() == "left out: 1 hidden image (a/._1.jpg)"


# -- lewel's own pictures


def picture(path: Path, colours: int | None = None) -> None:
    sheet = style.Sheet(1, 1)
    sheet.text(0.1, 0.1, "x")
    style.save(sheet.figure, path, dpi=40, colours=colours)


@pytest.mark.parametrize("colours", [None, 16])
def test_own_pictures_carry_a_mark(tmp_path: Path, colours: int | None) -> None:
    picture(tmp_path / "a.png", colours)
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    assert own_pictures.is_marked(str(tmp_path / "a.png"))
    assert Image.open(tmp_path / "a.png").info["Software"] == "lewel"
    assert not own_pictures.is_marked(str(tmp_path / "b.png"))
    assert not own_pictures.is_marked(str(tmp_path / "none.png"))
    os.mkfifo(tmp_path / "pipe.png")
    assert not own_pictures.is_marked(str(tmp_path / "pipe.png"))


def test_own_pictures_are_left_out(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/maps.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    digest = open_images(tmp_path).digest()
    picture(tmp_path / "a/maps.png")
    picture(tmp_path / "mine.png")  # in the folder itself any name is looked into
    names, left_out = find(tmp_path)
    assert names == ["a/1.png", "b/2.png", "b/maps.png"]  # a user's own maps.png has no mark
    assert left_out.sentence() == "left out: 2 pictures or folders of lewel's own (a/maps.png, mine.png)"
    assert open_images(tmp_path).digest() == digest


def test_only_few_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"{number}.png" for number in range(6)), "maps.png")
    opened: list[str] = []
    monkeypatch.setattr(own_pictures, "is_marked", lambda path: opened.append(os.path.basename(path)))
    monkeypatch.setattr(own_pictures, "MOST_IN_TOP", 5)
    find(tmp_path)
    assert opened == ["maps.png"]


def test_runs_and_results_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg", "run/.lock", "run/config.yaml", "run/gallery/000.jpg", "out/.lock")
    put(tmp_path, "out/table.json", "out/seed-0/gallery/000.jpg", "c/config.yaml", "c/3.jpg")
    images = open_images(tmp_path)
    assert images.classes == ["a", "b", "c"]
    (note,) = images.notes
    assert "2 pictures or folders of lewel's own (out, run)" in note
    assert np.array_equal(images.labels, [0, 1, 2])
