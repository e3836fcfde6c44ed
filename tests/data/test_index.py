"""An index gives what its folder gives: names, order, labels, pixels, identity; and says when it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from lewel.console import Console
from lewel.data import index
from lewel.data.images import evenly, is_divided, open_images
from lewel.data.names import Names
from lewel.data.shards import Shards
from lewel.errors import UserError
from lewel.prepare.commands import make_index, pack

ODD = ["plain.jpg", "two.dots.jpg", "line\nend.png", "caf\udce9.jpg", "ü b,c.webp", "UPPER.JPEG"]


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}.get(name.rsplit(".")[-1].lower(), "PNG")
        with open(root / name, "wb") as file:
            Image.new("RGB", (6, 5), (number % 256, 40, 90)).save(file, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "data", *(f"train/{c}/{name}" for c in "abc" for name in ODD), *(f"val/{c}/1.png" for c in "bc"))
    return tmp_path / "data"


def indexed(folder: Path, *more: str) -> Path:
    out = folder.parent / "index.safetensors"
    make_index(str(folder), out, Console(quiet=True))
    return out


# -- names


def test_names_are_those_that_were_given() -> None:
    given = ["", "a/b", *ODD, "a\0b"]
    names = Names.of(given)
    assert len(names) == len(given) and list(names) == given
    assert [names[i] for i in range(len(given))] == given
    assert list(names.take([3, 1])) == [given[3], given[1]]
    assert list(pickle.loads(pickle.dumps(names))) == given
    assert names.digest() == hashlib.sha256("\0".join(given).encode(errors="surrogateescape")).hexdigest()
    assert len(Names.of([])) == 0 and list(Names.of([])) == []


# -- the same as the folder


@pytest.mark.parametrize("split", [None, "train", "val"])
def test_an_index_is_its_folder(folder: Path, split) -> None:
    where = indexed(folder)
    ours, theirs = open_images(where, split), open_images(folder, split)
    assert is_divided(where)
    assert list(ours.names) == list(theirs.names) and ours.digest() == theirs.digest()
    assert ours.labels is not None and ours.labels.tolist() == theirs.labels.tolist()
    assert ours.classes == theirs.classes
    assert [ours.path(i) for i in range(len(ours))] == [theirs.path(i) for i in range(len(theirs))]
    for i in range(len(ours)):
        assert np.array_equal(np.asarray(ours.read(i)), np.asarray(theirs.read(i)))
    part = evenly(ours, 2)
    assert list(part.names) == [theirs.names[0], theirs.names[len(theirs) - 1]]


def test_an_index_of_a_list_and_of_a_folder_that_is_not_divided(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (folder / "list.csv").write_text("train/c/plain.jpg,x\ntrain/a/plain.jpg,y\n")
    for source in (folder / "list.csv", folder / "train"):
        make_index(str(source), tmp_path / "i.safetensors", Console(quiet=True))
        ours, theirs = open_images(tmp_path / "i.safetensors"), open_images(source)
        assert not is_divided(tmp_path / "i.safetensors")
        assert list(ours.names) == list(theirs.names) and ours.labels.tolist() == theirs.labels.tolist()
        with pytest.raises(UserError, match="is not divided: it was made from images without"):
            open_images(tmp_path / "i.safetensors", "val")
    monkeypatch.chdir(folder)
    make_index("train", tmp_path / "i.safetensors", Console(quiet=True))
    monkeypatch.chdir(tmp_path)
    assert open_images("i.safetensors").read(0).size == (6, 5)  # the root does not depend on where one stands


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    first = indexed(folder).read_bytes()
    assert indexed(folder).read_bytes() == first


def test_opening_neither_looks_at_the_folder_nor_copies_the_names(folder: Path, monkeypatch) -> None:
    where = indexed(folder)
    monkeypatch.setattr(os, "scandir", None)
    monkeypatch.setattr(os, "walk", None)
    images = open_images(where, "train")
    assert not images.names.blob.flags.owndata and not images.names.blob.flags.writeable


# -- mistakes


def test_what_is_no_index(tmp_path: Path) -> None:
    for content in (b"", b"x", b"no index at all, but long enough", (12).to_bytes(8, "little") + b'{"a": "b"}  '):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"^--data .*x\.safetensors (is not an index|cannot be read)"):
            open_images(tmp_path / "x.safetensors")
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors is not an index"):
        open_images(tmp_path / "x.safetensors")


def test_a_cut_or_damaged_index(folder: Path) -> None:
    where = indexed(folder)
    whole = where.read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2 + 400):
        where.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=f"it has {cut} bytes, not {len(whole)}"):
            open_images(where)
    where.write_bytes(whole.replace(b"plain", b"Plain", 1))
    with pytest.raises(UserError, match=r"it is not what was written \(its sha256 differs\)"):
        open_images(where)


def facts_of(where: Path) -> list[object]:
    """All that an index says, whatever its images."""
    content = list[object]()
    for part, images in index.read(str(where)).items():
        content += [part, images.root, list(images.names), images.classes, np.asarray(images.labels).tolist()]
        if isinstance(images, Shards):
            layout = images.layout
            content += [list(layout.names)]
            content += [getattr(layout, name).tolist() for name in ("totals", "shard", "start", "size", "crc")]
    return content


@pytest.mark.parametrize("kind", ["index", "shards"])
def test_any_flipped_bit_is_refused_or_changes_nothing(folder: Path, kind: str) -> None:
    where = indexed(folder)
    if kind == "shards":
        pack(str(folder), folder.parent / "shards", 1e9, 1, Console(quiet=True))
        where = folder.parent / "shards" / index.OF_SHARDS
    whole, before = where.read_bytes(), facts_of(where)
    refused = 0
    for bit in np.random.default_rng(0).choice(8 * len(whole), 300, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        where.write_bytes(flipped)
        try:
            assert facts_of(where) == before
        except UserError:
            refused += 1
    assert refused >= 299  # padding of the header may be another blank


def test_an_index_without_a_digest_is_still_read_and_checked(folder: Path) -> None:
    where = indexed(folder)
    before = facts_of(where)
    with safe_open(where, "np") as file:
        facts = json.loads(file.metadata()["lewel_index"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = {"lewel_index": json.dumps({"version": 1, "parts": facts["parts"]})}
    save_file(tensors, where, old)
    assert facts_of(where) == before
    for name, wrong in (("train.labels", 99), ("train.classes.starts", -1), ("train.names.starts", 2**40)):
        changed = tensors[name].copy()
        changed[1] = wrong
        save_file(tensors | {name: changed}, where, old)
        with pytest.raises(UserError, match="its numbers are not those of an index"):
            index.read(str(where))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "i.safetensors")
    with pytest.raises(UserError, match="is not a regular file"):
        index.read(str(tmp_path / "i.safetensors"))


def test_an_index_of_a_newer_version(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(index, "VERSION", 3)
    where = indexed(folder)
    monkeypatch.undo()
    with pytest.raises(UserError, match="it has version 3, this lewel reads 2; install a newer lewel"):
        open_images(where)


def test_a_folder_that_moved(folder: Path) -> None:
    where = indexed(folder)
    shutil.move(folder, folder.with_name("moved"))
    with pytest.raises(UserError, match=r"is an index of .*data/train, which is not there; .*lewel data index FOLDER"):
        open_images(where)


def test_an_image_that_vanished_is_skipped_as_in_a_folder(folder: Path) -> None:
    from lewel.data.decode import DecodeError

    images = open_images(indexed(folder))
    (folder / "train" / images.names[0]).unlink()
    with pytest.raises(DecodeError, match="no such file"):
        images.read(0)


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("data", "index.txt", "a name that ends in .safetensors is needed"),
        ("data", "nowhere/i.safetensors", "the folder .*nowhere does not exist"),
        ("data", "taken.safetensors", "is there and is no index; give another name"),
        ("data", "folder.safetensors", "is a folder"),
        ("empty", "i.safetensors", "no images found"),
        ("none", "i.safetensors", "no such folder"),
        ("index.safetensors", "i.safetensors", "is an index already"),
        ("s3://bucket/in1k", "i.safetensors", "files at a URL cannot be listed"),
    ],
)
def test_wrong_commands(folder: Path, tmp_path: Path, source: str, out: str, said: str) -> None:
    indexed(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "taken.safetensors").write_bytes(b"mine")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=said):
        make_index(source if "://" in source else str(tmp_path / source), tmp_path / out, Console(quiet=True))
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "taken.safetensors").read_bytes() == b"mine"


def test_a_full_disk_leaves_the_old_index(folder: Path, monkeypatch) -> None:
    where = indexed(folder)
    before = where.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left"):
        indexed(folder)
    assert where.read_bytes() == before and len(list(where.parent.iterdir())) == 2


def test_the_file_says_what_it_is(folder: Path) -> None:
    with safe_open(indexed(folder), "np") as file:  # any reader of safetensors can
        facts = json.loads(file.metadata()["lewel_index"])
        assert facts["version"] == 2 and facts["parts"]["val"]["root"] == str(folder / "val")
        assert file.get_tensor("train.labels").tolist() == [0] * 6 + [1] * 6 + [2] * 6
