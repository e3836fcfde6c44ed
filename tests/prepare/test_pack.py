"""Shards hold the files' own bytes, in WebDataset's format; the same whatever the workers, and after any kill."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import webdataset

from lewel.console import Console
from lewel.data.images import is_divided, open_images
from lewel.errors import UserError
from lewel.prepare import pack as packing
from lewel.prepare.commands import make_index, pack

ODD = ["a.jpg", "a.png", "two.dots.jpg", "line\nend.png", "caf\udce9.jpg", "ü b,c.webp", "UPPER.JPEG", "empty.bmp"]
CONSOLE = Console(quiet=True)


def contents(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)  # packing does not open images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [f"train/{c}/{name}" for c in "abc" for name in ODD] + [f"val/{c}/{i}.png" for c in "bc" for i in range(4)]
    for seed, name in enumerate(names):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else contents(100 + 512 * (seed % 5), seed))
    return tmp_path / "data"


def packed(source: Path, out: Path, size: float = 20480, workers: int = 2) -> Path:
    pack(str(source), out, size, workers, CONSOLE)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != packing.LOCK}


# -- what is in them


@pytest.mark.parametrize("split", [None, "train", "val"])
def test_shards_are_their_folder(folder: Path, tmp_path: Path, split) -> None:
    out = packed(folder, tmp_path / "shards")
    theirs = open_images(folder, split)
    for data in (out, out / "shards.safetensors"):
        ours = open_images(data, split)
        assert is_divided(data)
        assert list(ours.names) == list(theirs.names) and ours.digest() == theirs.digest()
        assert ours.labels.tolist() == theirs.labels.tolist() and ours.classes == theirs.classes
        there = [Path(theirs.file(i)).read_bytes() for i in range(len(theirs))]
        assert ours.raw(range(len(ours))) == there
        assert ours.layout.crc.tolist() == [zlib.crc32(data) for data in there]


@pytest.mark.parametrize("part", ["train", "val"])
def test_webdataset_reads_them(folder: Path, tmp_path: Path, part: str) -> None:
    out = packed(folder, tmp_path / "shards")
    shards = sorted(str(path) for path in out.glob(f"{part}-*.tar"))
    assert len(shards) > 1 or part == "val"
    theirs = open_images(folder, part)
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert [int(sample["cls"]) for sample in samples] == theirs.labels.tolist()
    for number, sample in enumerate(samples):
        ending = theirs.names[number].rsplit(".")[-1].lower()
        assert sample["__key__"] == f"{number:09d}"
        assert set(sample) - {"__key__", "__url__", "__local_path__"} == {ending, "cls"}
        assert sample[ending] == Path(theirs.file(number)).read_bytes()


def test_any_tar_reads_them_and_no_shard_is_too_large(folder: Path, tmp_path: Path) -> None:
    out = packed(folder, tmp_path / "shards", 10240)
    for path in out.glob("*.tar"):
        assert path.stat().st_size <= 10240
        with tarfile.open(path) as file:
            assert all(member.isreg() and member.mtime == 0 for member in file.getmembers())
    subprocess.run(["tar", "-tf", out / "train-000000.tar"], check=True, capture_output=True)


def test_images_without_labels_and_any_ending(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.tar.gz", "noending", "b.J P G"):
        (tmp_path / "data" / name).write_bytes(name.encode())
    (tmp_path / "data/list.txt").write_text("noending\nb.J P G\na.tar.gz\n")
    out = packed(tmp_path / "data/list.txt", tmp_path / "shards")
    with tarfile.open(out / "images-000000.tar") as file:
        assert file.getnames() == ["000000000.img", "000000001.img", "000000002.gz"]
    sample = next(iter(webdataset.WebDataset(str(out / "images-000000.tar"), shardshuffle=False)))
    assert sample["img"] == b"noending"
    images = open_images(out)
    assert images.labels is None and images.raw([2, 0]) == [b"a.tar.gz", b"noending"]


def test_the_bytes_do_not_depend_on_workers_index_or_place(folder: Path, tmp_path: Path) -> None:
    expected = files(packed(folder, tmp_path / "1", workers=1))
    assert len(expected) > 3
    make_index(str(folder), tmp_path / "index.safetensors", CONSOLE)
    assert files(packed(tmp_path / "index.safetensors", tmp_path / "2", workers=4)) == expected
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert files(packed(tmp_path / "elsewhere", tmp_path / "3", workers=3)) == expected


# -- going on


def test_what_is_missing_is_made_again(folder: Path, tmp_path: Path) -> None:
    out = packed(folder, tmp_path / "shards")
    expected = files(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    packed(folder, out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times
    (out / "train-000001.tar").unlink()
    (out / ".train-000000.tar.123.tmp").write_bytes(b"half")
    packed(folder, out)
    assert files(out) == expected and (out / "train-000000.tar").stat().st_mtime_ns == times["train-000000.tar"]
    (out / "shards.safetensors").unlink()
    with pytest.raises(UserError, match=r"found \d+ x \.tar \(shards need the shards\.safetensors"):
        open_images(out)
    packed(folder, out)
    assert files(out) == expected and (out / "train-000000.tar").stat().st_mtime_ns == times["train-000000.tar"]


def test_packing_again_does_not_take_damage_for_what_was_packed(folder: Path, tmp_path: Path) -> None:
    out = packed(folder, tmp_path / "shards")
    expected = files(out)
    for name in ("train-000000.tar", "train-000001.tar"):
        whole = bytearray(expected[name])
        whole[600] ^= 1  # of the first image
        (out / name).write_bytes(whole)
    (out / "train-000001.tar").unlink()
    packed(folder, out)
    assert {name for name, content in files(out).items() if content != expected[name]} == {"train-000000.tar"}
    with pytest.raises(UserError, match=r"train-000000\.tar is damaged"):
        open_images(out).raw([0])
    (out / "train-000000.tar").unlink()
    packed(folder, out)
    assert files(out) == expected


SLOWLY = """
import sys, time
from pathlib import Path
from lewel.console import Console
from lewel.engine import files
from lewel.prepare import commands, pack
add = pack._add
def slowly(*arguments):
    time.sleep(0.002)
    return add(*arguments)
pack._add = slowly
print("begun", flush=True)
commands.pack(sys.argv[1], Path(sys.argv[2]), 20480, 2, Console(quiet=True))
"""


def test_the_file_of_the_lock_is_never_removed(folder: Path, tmp_path: Path) -> None:
    """Else one process could hold the file that is gone while another one holds the next."""
    out = tmp_path / "shards"
    out.mkdir()
    (out / packing.LOCK).touch()
    before = (out / packing.LOCK).stat().st_ino
    for _ in range(2):
        packed(folder, out)
        assert (out / packing.LOCK).stat().st_ino == before


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_any_moment_it_ends_in_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    expected, out = files(packed(folder, tmp_path / "unbroken")), tmp_path / "killed"
    begun: list[int] = []
    for pause in (0.01, 0.05):
        process = subprocess.Popen([sys.executable, "-c", SLOWLY, folder, out], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        begun.append(len(list(out.glob("*.tar"))) if out.exists() else 0)
    assert not (out / "shards.safetensors").exists() or begun[-1] == len(expected) - 1
    assert files(packed(folder, out)) == expected


# -- mistakes


def test_shards_of_others(folder: Path, tmp_path: Path) -> None:
    out = packed(folder, tmp_path / "shards")
    before = files(out)
    with pytest.raises(UserError, match=r"has \d+ bytes, not \d+: it is cut short, or of other images"):
        packed(folder, out, 10240)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "train/a/a.jpg").rename(other / "train/a/aa.jpg")  # as many bytes
    with pytest.raises(UserError, match="holds shards of other images"):
        packed(other, out)
    (out / "shards.safetensors").unlink()
    (other / "train/a/aa.jpg").rename(other / "train/a/zz.png")  # the first shards' members get other endings
    with pytest.raises(UserError, match=r"is not as planned|has .* bytes, not"):
        packed(other, out)
    assert {name: content for name, content in files(out).items() if name in before and name[0] != "."} == {
        name: content for name, content in before.items() if name != "shards.safetensors"
    }


def test_a_folder_with_other_things_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x")
    for out in (tmp_path / "mine", folder):
        before = sorted(path.name for path in out.iterdir())
        with pytest.raises(UserError, match="holds other things"):
            packed(folder, out)
        assert sorted(path.name for path in out.iterdir()) == before


@pytest.mark.parametrize(
    ("size", "workers", "said"),
    [
        (1000, 1, "--shard-size 1000: the largest image of train needs 10240"),
        (0, 1, "--shard-size 0"),
        (float("nan"), 1, "--shard-size nan"),
        (float("inf"), 1, "--shard-size inf"),
        (1e9, 0, "--workers 0: must be 1 or more"),
    ],
)
def test_wrong_numbers(folder: Path, tmp_path: Path, size: float, workers: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        packed(folder, tmp_path / "shards", size, workers)
    assert not (tmp_path / "shards").exists()


def test_wrong_sources(folder: Path, tmp_path: Path) -> None:
    out = packed(folder, tmp_path / "shards")
    with pytest.raises(UserError, match="is packed already"):
        packed(out, tmp_path / "again")
    with pytest.raises(UserError, match="is a file; give a folder"):
        packed(folder, out / "train-000000.tar")
    with pytest.raises(UserError, match=f"^{tmp_path}/nowhere: no such folder"):
        packed(tmp_path / "nowhere", tmp_path / "again")
    with pytest.raises(UserError, match=f"^{tmp_path}/nowhere: no such folder"):
        make_index(str(tmp_path / "nowhere"), tmp_path / "index.safetensors", CONSOLE)
    (out / "shards.safetensors").write_bytes(b"no index")
    with pytest.raises(UserError, match=r"^--out .*/shards\.safetensors is not an index"):
        packed(folder, out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_files_that_are_not_there_are_all_named(folder: Path, tmp_path: Path) -> None:
    make_index(str(folder), tmp_path / "index.safetensors", CONSOLE)
    (folder / "train/a/a.jpg").unlink()
    (folder / "train/b/line\nend.png").unlink()
    os.mkfifo(folder / "train/b/line\nend.png")
    with pytest.raises(
        UserError, match=r"2 images cannot be packed: .*a/a\.jpg: no such file.*nend\.png: not a reg"
    ) as e:
        packed(tmp_path / "index.safetensors", tmp_path / "shards")
    assert "\n" not in str(e.value) and not (tmp_path / "shards").exists()


def test_a_file_that_changes_or_goes_while_it_is_packed(folder: Path, tmp_path: Path, monkeypatch) -> None:
    expected, real = files(packed(folder, tmp_path / "unbroken")), packing.sizes_of
    victim = folder / "train/c/a.png"
    whole = victim.read_bytes()

    def then(change):
        def sizes(parts):
            found = real(parts)
            change()
            return found

        monkeypatch.setattr(packing, "sizes_of", sizes)

    then(lambda: victim.write_bytes(whole + b"more"))
    with pytest.raises(UserError, match=r"c/a\.png changed while it was packed: \d+ bytes, not \d+; pack again"):
        packed(folder, tmp_path / "shards")
    victim.write_bytes(whole)
    then(victim.unlink)
    with pytest.raises(UserError, match=r"c/a\.png cannot be packed: no such file"):
        packed(folder, tmp_path / "shards")
    assert not list((tmp_path / "shards").glob(".*.tmp"))
    victim.write_bytes(whole)
    monkeypatch.undo()
    assert files(packed(folder, tmp_path / "shards")) == expected


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(UserError, match=r"[\d,]+ bytes are needed and 1,000 are free; make room"):
        packed(folder, tmp_path / "shards")
    monkeypatch.undo()
    real, left = os.fsync, [2]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device; make room\); the same command"):
        packed(folder, tmp_path / "shards", workers=1)
    assert len(list((tmp_path / "shards").glob("*.tar"))) == 1  # the second sync was the folder's
    assert not list((tmp_path / "shards").glob(".*.tmp"))
    monkeypatch.undo()
    assert files(packed(folder, tmp_path / "shards")) == files(packed(folder, tmp_path / "unbroken"))


def test_a_line_now_and_then(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("lewel.prepare.commands.LINE_EVERY_S", 0)
    pack(str(folder), tmp_path / "shards", 20480, 1, Console(width=200))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" left") and "/s  " in lines[0]
    assert lines[-1].startswith(f"wrote {tmp_path}/shards: 24 images of train in 3 classes, 8 images of val in 2 cl")
