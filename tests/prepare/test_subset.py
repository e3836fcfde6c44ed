"""A subset is the folder without the other classes; the list's digest says which list it is."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from command import lewel
from lewel.console import Console
from lewel.data.folder import Files
from lewel.data.images import open_images
from lewel.data.names import Names
from lewel.errors import UserError
from lewel.prepare import subset
from lewel.prepare.commands import make_index, make_subset

QUIET = Console(quiet=True)
COUNTS = {"train": {"n10": 3, "n2": 2, "n3": 4, "dog": 1}, "val": {"n10": 1, "n2": 2, "n3": 1, "dog": 1}}


def folder_of(root: Path, counts: dict[str, dict[str, int]]) -> Path:
    for part, classes in counts.items():
        for name, count in classes.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                (root / part / name / f"{i}.jpg").write_bytes(b"")  # a subset does not open images
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "data", COUNTS)


def listed(tmp_path: Path, *names: str, end: str = "\n") -> Path:
    path = tmp_path / "classes.txt"
    path.write_bytes(end.join(names).encode())
    return path


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("through_index", [False, True])
def test_a_subset_is_the_folder_of_these_classes(folder: Path, tmp_path: Path, split, through_index: bool) -> None:
    """The same names, numbers and classes as a folder that never had the others."""
    source, out = folder, tmp_path / "some.safetensors"
    if through_index:
        source = tmp_path / "all.safetensors"
        make_index(str(folder), source, QUIET)
    make_subset(str(source), listed(tmp_path, "n3", "n10", end="\r\n"), out, QUIET)
    ours = open_images(out, split)
    fewer = {part: {name: n for name, n in found.items() if name in ("n3", "n10")} for part, found in COUNTS.items()}
    theirs = open_images(folder_of(tmp_path / "fewer", fewer), split)
    assert list(ours.names) == list(theirs.names) and ours.digest() == theirs.digest()
    assert ours.labels.tolist() == theirs.labels.tolist() and ours.classes == theirs.classes == ["n10", "n3"]
    assert Path(ours.file(0)).is_file()


def test_the_digest_is_that_of_the_sorted_names() -> None:
    names = ("n02", "n01", "n10")
    assert subset.ClassList("", names).digest() == hashlib.sha256(b"n01\nn02\nn10").hexdigest()


def test_another_list_is_not_imagenet_100(folder: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    make_subset(str(folder), listed(tmp_path, "n2", "dog"), tmp_path / "a.safetensors", Console(file=said, width=500))
    assert "3 images of train in 2 classes, 3 images of val in 2 classes" in said.getvalue()
    assert "not ImageNet-100" in said.getvalue() and "where ImageNet-100 has" not in said.getvalue()


def test_counts_that_are_not_imagenet_100s_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = subset.ClassList("list", ("a", "b"))
    monkeypatch.setattr(subset, "IMAGENET_100", classes.digest())
    parts = {"train": Files("r", Names.of(["a/1.jpg"] * 7)), "val": Files("r", Names.of(["a/1.jpg"] * 5000))}
    first, *more = subset.told(parts, classes)
    assert "ImageNet-100 (CMC's list)" in first and classes.digest() in first
    assert more == ["train: 7 images, where ImageNet-100 has 126,689"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("n2", "x1", "x2", "x3", "x4"), r"4 of its 5 classes are not in .*train \(train\): x1, x2, x3, \.\.\.$"),
        (("n2", "n2", "n3"), "n2 is there twice"),
        (("n2", "", " "), "1 classes; name two or more"),
    ],
)
def test_lists_that_do_not_fit(folder: Path, tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_subset(str(folder), listed(tmp_path, *names), tmp_path / "out.safetensors", QUIET)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_class_that_only_train_has(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"train": {"a": 1, "b": 1}, "val": {"a": 1, "c": 1}})
    with pytest.raises(UserError, match=r"1 of its 2 classes are not in .*\(val\): b$"):
        make_subset(str(root), listed(tmp_path, "a", "b"), tmp_path / "out.safetensors", QUIET)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = listed(tmp_path, "n2", "n3")
    out = tmp_path / "out.safetensors"
    assert lewel("data", "subset", folder, "--classes", classes, "--out", out) == 0
    assert len(open_images(out, "train")) == 6
    assert lewel("data", "subset", out, "--classes", classes, "--out", out) == 2
    assert lewel("data", "subset", folder, "--classes", tmp_path / "no.txt", "--out", out) == 2
    assert "cannot be read" in capsys.readouterr().err
