"""What is found in folders, lists and CIFAR-10's files, and what is said when nothing is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel.data.cifar import Pixels
from lewel.data.images import evenly, is_divided, mixed, open_images, relabelled, spread
from lewel.errors import UserError


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / name)


# -- folders


def test_any_depth_sorted_and_only_images(tmp_path: Path) -> None:
    put(tmp_path, "b/2/z.PNG", "b/1.jpg", "a.jpeg", "B.png", "b-c/1.png")
    for name in ("notes.txt", "b/x.json", ".hidden.jpg", "._a.jpg"):
        (tmp_path / name).write_text("no image")
    put(tmp_path, ".thumbnails/t.png")
    images = open_images(tmp_path)
    assert list(images.names) == ["B.png", "a.jpeg", "b/1.jpg", "b/2/z.PNG", "b-c/1.png"]
    assert len(images) == 5
    assert images.labels is None and images.classes is None
    assert np.asarray(images.read(3)).tolist() == [[[0, 0, 0]] * 4] * 4
    assert images.path(2) == str(tmp_path / "b/1.jpg")


def test_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "dog/1.png", "cat/deep/2.png", "cat/1.png")
    images = open_images(tmp_path)
    assert list(images.names) == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert images.classes == ["cat", "dog"]
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1]


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, "all/1.png", "all/2.png")
    assert open_images(tmp_path).labels is None


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    put(tmp_path, "10/1.png", "9/1.png")
    images = open_images(tmp_path)
    assert images.classes == ["9", "10"]
    assert images.labels is not None and images.labels.tolist() == [1, 0]  # the files' order is that of their bytes


@pytest.mark.parametrize("second", ["val", "test"])
def test_divided_folder(tmp_path: Path, second: str) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", f"{second}/a/2.png", f"{second}/b/2.png", f"{second}/b/3.png")
    assert is_divided(tmp_path)
    assert list(open_images(tmp_path).names) == list(open_images(tmp_path, "train").names) == ["a/1.png", "b/1.png"]
    held_out = open_images(tmp_path, "val")
    assert list(held_out.names) == ["a/2.png", "b/2.png", "b/3.png"]
    assert held_out.labels is not None and held_out.labels.tolist() == [0, 1, 1]


def test_a_part_that_lacks_a_class_gets_the_numbers_of_the_other(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "val/b/1.png", "val/c/1.png")
    keys, queries = open_images(tmp_path), open_images(tmp_path, "val")
    assert keys.classes == ["a", "b", "c"]
    assert queries.labels is not None and queries.labels.tolist() == [0, 1]
    same = relabelled(queries, keys.classes)
    assert same.labels is not None and same.labels.tolist() == [1, 2]
    assert same.classes == keys.classes
    with pytest.raises(UserError, match="val has 1 classes that the images for training lack: c"):
        relabelled(queries, ["a", "b"])


def test_a_folder_that_is_not_divided(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "other/1.png")
    assert not is_divided(tmp_path)
    assert len(open_images(tmp_path)) == 2
    with pytest.raises(UserError, match="not divided: it needs the folders train/ and val/"):
        open_images(tmp_path, "val")


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    put(tmp_path / "data", "a/1.png", "b/1.png")
    put(tmp_path / "elsewhere", "2.png")
    os.symlink("..", tmp_path / "data/a/up")
    os.symlink(".", tmp_path / "data/self")
    os.symlink("b", tmp_path / "data/a-second-name-for-b")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data/linked")
    os.symlink(tmp_path / "elsewhere/2.png", tmp_path / "data/b/file.png")
    os.symlink("nowhere", tmp_path / "data/dangling")
    assert list(open_images(tmp_path / "data").names) == ["a/1.png", "b/1.png", "b/file.png", "linked/2.png"]


def test_links_are_taken_one_after_the_other(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.png", "deep/2.png")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data/a")
    os.symlink(tmp_path / "elsewhere/deep", tmp_path / "data/b")
    assert list(open_images(tmp_path / "data").names) == ["a/1.png", "a/deep/2.png"]  # and not b/2.png


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    put(tmp_path, "b/1.png")
    with open(os.path.join(folder, b"\xff.png"), "wb") as file:
        Image.new("RGB", (2, 3)).save(file, "PNG")
    images = open_images(tmp_path)
    assert images.classes == ["b", "caf\udce9"]
    assert images.path(1) == f"{tmp_path}/caf\udce9/\udcff.png"
    assert images.read(1).size == (2, 3)


def test_every_file_is_listed_once(tmp_path: Path) -> None:
    put(tmp_path, *[f"{c}/{i:02}.png" for c in "abc" for i in range(20)])
    names = list(open_images(tmp_path).names)
    assert len(names) == len(set(names)) == 60
    assert names == sorted(names)


def test_nothing_found_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.heic").write_bytes(b"x")
    (tmp_path / "b.HEIC").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        open_images(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"--data {tmp_path}: no images found; looked at any depth for .jpg .jpeg")
    assert text.endswith("found 2 x .heic")
    assert "\n" not in text


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder, list file or index"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "data.tar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"ends in \.txt or \.csv"):
        open_images(tmp_path / "data.tar")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(UserError, match="cannot read the folder"):
            open_images(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o755)


# -- lists


def test_text_list(tmp_path: Path) -> None:
    put(tmp_path, "pictures/b.png", "pictures/a b,c.png", "up.png")
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists/mine.txt"
    text = f"../pictures/b.png\r\n\r\n../pictures/a b,c.png\n{tmp_path}/up.png"
    listed.write_bytes(b"\xef\xbb\xbf" + text.encode())
    images = open_images(listed)
    assert [np.asarray(images.read(i))[0, 0, 0] for i in range(3)] == [0, 1, 2]
    assert images.labels is None


def test_csv_list(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a,1.png", "c.png")
    (tmp_path / "list.csv").write_text('path,label\nb.png,dog\n"a,1.png",cat\nc.png,dog\n')
    images = open_images(tmp_path / "list.csv")
    assert list(images.names) == ["b.png", "a,1.png", "c.png"]
    assert images.classes == ["cat", "dog"]
    assert images.labels is not None and images.labels.tolist() == [1, 0, 1]
    (tmp_path / "plain.csv").write_text("b.png\nc.png\n")
    assert open_images(tmp_path / "plain.csv").labels is None


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "c.png", "d.png")
    text = "Path,shot,Split,label\nb.png,1,train,dog\nc.png,2,test,cat\nd.png,2,train,cat\n"
    (tmp_path / "list.csv").write_text(text)
    assert is_divided(tmp_path / "list.csv")
    for split in (None, "train"):
        images = open_images(tmp_path / "list.csv", split)
        assert list(images.names) == ["b.png", "d.png"]
        assert images.classes == ["cat", "dog"] and images.labels.tolist() == [1, 0]
    assert list(open_images(tmp_path / "list.csv", "val").names) == ["c.png"]
    (tmp_path / "list.csv").write_text(text.replace("d.png,2,train", "d.png,2,val"))
    assert list(open_images(tmp_path / "list.csv", "val").names) == ["d.png"]  # val goes before test
    (tmp_path / "list.csv").write_text("path,shot,label\nb.png,1\nc.png,2\n")
    assert not is_divided(tmp_path / "list.csv")
    assert open_images(tmp_path / "list.csv").labels is None


@pytest.mark.parametrize("header", ["", "path\n", "path,label\n", "path,species\n", "PATH , Label\n"])
def test_two_columns_are_path_and_label(tmp_path: Path, header: str) -> None:
    put(tmp_path, "b.png", "c.png")
    (tmp_path / "list.csv").write_text(header + "b.png,dog\nc.png,cat\n")
    assert open_images(tmp_path / "list.csv").classes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no images found"),
        ("path,label\n", "no images found"),
        ("path,label,split\nb.png,1,train,x\n", "what a header names, and a row has more than 3 cells"),
        ("path,label,label\nb.png,1,2\n", "names a column twice: path,label,label"),
        ("path,label,split\nb.png,1,nine\n", r"split column has nine; allowed are train \(training\), val \(valid"),
        ("path,split\nb.png\n", "split column has an empty cell"),
        ("path,split\nb.png,test\n", "no row has train in its split column"),
        ("b.png,1,2\n", "rows must be path or path,label"),
        ("b.png,1\nb.png\n", "every row needs a label, or none"),
        ("b.png,1\nb.png,\n", "every row needs a label, or none"),
        ("other.png,1\n", "relative to the list's folder"),
        ('"b.png,1\n', "not a CSV file"),
    ],
)
def test_wrong_lists(tmp_path: Path, text: str, said: str) -> None:
    put(tmp_path, "b.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        open_images(tmp_path / "list.csv")


def test_a_list_is_not_divided(tmp_path: Path) -> None:
    put(tmp_path, "b.png")
    (tmp_path / "list.txt").write_text("b.png\n")
    assert not is_divided(tmp_path / "list.txt")
    with pytest.raises(UserError, match="a list is not divided"):
        open_images(tmp_path / "list.txt", "val")


# -- CIFAR-10


def cifar(root: Path) -> dict[str, np.ndarray]:
    """Records as the data set's page describes them: a label byte, 1024 red, 1024 green, 1024 blue, row by row."""
    rng, written = np.random.default_rng(0), {}
    for name, count in (("data_batch_1.bin", 3), ("data_batch_2.bin", 2), ("test_batch.bin", 4)):
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(count)
        records.tofile(root / name)
        written[name] = records
    return written


def test_cifar(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = cifar(folder)["data_batch_2.bin"]
    for path in (tmp_path, folder):
        images = open_images(path)
        assert isinstance(images, Pixels)
        assert len(images) == 5 and images.pixels.shape == (5, 32, 32, 3)
        assert images.labels is not None and images.labels.tolist() == [0, 1, 2, 0, 1]
        assert images.classes is not None and images.classes[5] == "dog"
        assert is_divided(path) and len(open_images(path, "val")) == 4
    x, y = 5, 7
    expected = tuple(int(records[1, 1 + 1024 * channel + 32 * y + x]) for channel in range(3))
    assert open_images(tmp_path).read(4).getpixel((x, y)) == expected
    assert open_images(tmp_path).path(4).endswith("data_batch_*.bin#4")


def test_wrong_cifar(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=r"Python version.*use its binary version \(data_batch_\*\.bin"):
        open_images(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(UserError, match="3072 bytes, no multiple of 3073"):
        open_images(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(b"\x0a" + bytes(3072))
    with pytest.raises(UserError, match="labels above 9"):
        open_images(tmp_path)
    with pytest.raises(UserError, match=r"looked for CIFAR-10's test_batch\.bin"):
        open_images(tmp_path, "val")


def test_a_part_is_spread_evenly_over_the_classes() -> None:
    labels = np.repeat(np.arange(4), 50)
    images = Pixels("here", np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1).repeat(3, 3), labels, list("abcd"))
    part = evenly(images, 40)
    assert part.labels is not None and np.bincount(part.labels).tolist() == [10, 10, 10, 10]
    assert [part.read(i).getpixel((0, 0))[0] // 50 for i in range(40)] == part.labels.tolist()
    assert evenly(images, 200) is images


def test_numbers_are_spread_evenly() -> None:
    assert spread(9, 3).tolist() == [0, 4, 8] and spread(5, 1).tolist() == [0]
    assert spread(4, 4).tolist() == spread(4, 9).tolist() == [0, 1, 2, 3] and spread(0, 9).tolist() == []


def test_mixed_takes_one_of_each_class_in_turn() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 5)
    images = Pixels("here", np.zeros((14, 2, 2, 3), np.uint8), labels, ["a", "b", "c"])
    order = mixed(images, 0)
    assert sorted(order.tolist()) == list(range(14)) and order.tolist() != mixed(images, 1).tolist()
    turns = np.split(labels[order], [3, 6, 8, 10, 12])
    assert [sorted(turn.tolist()) for turn in turns] == [[0, 1, 2]] * 2 + [[0, 2]] * 3 + [[0, 0]]
    plain = Pixels("here", images.pixels)
    assert mixed(plain, 0).tolist() == np.random.default_rng(0).permutation(14).tolist()
