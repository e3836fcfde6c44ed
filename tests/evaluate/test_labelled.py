"""Two labelled parts from every layout, and what is said when there are none."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel.data import index
from lewel.data.cifar import Pixels
from lewel.data.folder import Files
from lewel.data.images import open_images
from lewel.data.names import Names
from lewel.errors import UserError
from lewel.evaluate.labelled import Labelled, open_divided


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / name)


def names_of(part: Labelled) -> list[str]:
    assert not isinstance(part.images, Pixels)
    return list(part.images.names)


def classes_of(part: Labelled) -> list[str]:
    return [part.names[target] for target in part.targets]


@pytest.fixture
def divided_folder(tmp_path: Path) -> Path:
    put(tmp_path, *(f"train/{c}/{i}.png" for c in "abc" for i in range(3)), "test/b/0.png", "test/c/0.png")
    return tmp_path


def test_class_folders(divided_folder: Path) -> None:
    found = open_divided(str(divided_folder), "given", None, 0.2, 0)
    train, val, facts = found.train, found.val, found.facts
    assert (len(train), len(val)) == (9, 2)
    assert train.names == val.names == ("a", "b", "c")
    assert val.targets.tolist() == [1, 2] == val.images.labels.tolist()  # numbered as in train, which has more classes
    assert not val.is_multilabel
    assert json.loads(json.dumps(facts)) == {
        "data": str(divided_folder),
        "layout": "class folders",
        "split": {"how": "given", "train": "train", "val": "test", "unused": []},
        "classes": 3,
        "train": {
            "from": str(divided_folder / "train"),
            "images": 9,
            "per_class": {"fewest": 3, "most": 3},
            "digest": train.digest,
        },
        "val": {
            "from": str(divided_folder / "test"),
            "images": 2,
            "per_class": {"fewest": 0, "most": 1},
            "digest": val.digest,
        },
    }


def test_an_index_gives_what_its_folder_gives(divided_folder: Path) -> None:
    parts = {part: open_images(divided_folder, part) for part in ("train", "val")}
    where = divided_folder / "i.safetensors"
    where.write_bytes(index.to_bytes(parts))
    ours, theirs = (open_divided(str(path), "given", None, 0.2, 0) for path in (where, divided_folder))
    assert ours.facts["layout"] == "index"
    assert (ours.train.digest, ours.val.digest) == (theirs.train.digest, theirs.val.digest)


def test_what_is_divided_keeps_its_parts_with_split_auto(divided_folder: Path) -> None:
    given, auto = (open_divided(str(divided_folder), split, None, 0.5, 0) for split in ("given", "auto"))
    assert auto.facts == given.facts and names_of(auto.val) == names_of(given.val) == ["b/0.png", "c/0.png"]
    assert auto.notes[:-1] == given.notes and auto.notes[-1].startswith("--split auto: ")
    assert "is divided already" in auto.notes[-1]


def test_cifar(tmp_path: Path) -> None:
    for name in ("data_batch_1.bin", "test_batch.bin"):
        records = np.zeros((20, 3073), np.uint8)
        records[:, 0] = np.arange(20) % 10
        records.tofile(tmp_path / name)
    found = open_divided(str(tmp_path), "given", None, 0.2, 0)
    train, val, facts = found.train, found.val, found.facts
    assert (len(train), len(val), len(train.names), facts["layout"]) == (20, 20, 10, "CIFAR-10")
    (tmp_path / "test_batch.bin").unlink()
    assert len(open_divided(str(tmp_path), "auto", None, 0.5, 0).val) == 10


def test_the_digest_is_of_names_targets_and_classes() -> None:
    def of(names: list[str], labels: list[int], classes: tuple[str, ...]) -> str:
        return Labelled(Files("/x", Names.of(names)), np.array(labels), classes).digest

    first = of(["1", "2"], [0, 1], ("a", "b"))
    names = hashlib.sha256(b"1\x002").hexdigest()
    nothing = hashlib.sha256(struct.pack("<4q", 0, 0, 0, 0)).hexdigest()  # sizes and contents of no files
    expected = names.encode() + struct.pack("<2q", 0, 1) + b"a\0b" + nothing.encode()
    assert first == hashlib.sha256(expected).hexdigest()
    others = [
        of(["1", "3"], [0, 1], ("a", "b")),
        of(["1", "2"], [1, 1], ("a", "b")),
        of(["1", "2"], [0, 1], ("a", "c")),
    ]
    assert len({first, *others}) == 4


def test_auto_split(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(5)), "lonely/1.png")
    found = open_divided(str(tmp_path), "auto", None, 0.2, 3)
    train, val, facts = found.train, found.val, found.facts
    assert facts["split"] == {"how": "auto", "seed": 3, "val_share": 0.2}
    assert sorted([*names_of(train), *names_of(val)]) == sorted(open_images(tmp_path).names)
    assert sorted(classes_of(val)) == ["a", "b"] and "lonely" in classes_of(train)
    again = open_divided(str(tmp_path), "auto", None, 0.2, 3)
    assert again.facts == facts
    assert any(names_of(open_divided(str(tmp_path), "auto", None, 0.2, s).val) != names_of(val) for s in range(4))


def shots(root: Path, extra: str = "") -> Path:
    """Five shots of two images in each of two classes."""
    rows = [f"{c}{i}.png,{c},{c}-shot{i // 2}" for c in "ab" for i in range(10)]
    put(root, *(row.split(",")[0] for row in rows))
    (root / "list.csv").write_text("\n".join(["path,label,Shot,camera", *(row + ",x" for row in rows)]) + extra)
    return root / "list.csv"


def test_groups_of_a_csv_stay_together(tmp_path: Path) -> None:
    found = open_divided(str(shots(tmp_path)), "auto", "Shot", 0.2, 0)
    train, val, facts = found.train, found.val, found.facts
    assert names_of(val) == ["a8.png", "a9.png", "b0.png", "b1.png"]  # the same everywhere
    assert len(train) == 16
    assert facts["layout"] == "list"
    assert facts["split"] == {
        **{"how": "auto", "seed": 0, "val_share": 0.2},
        **{"group_by": "Shot", "groups": 10, "groups_of_val": 2},
    }


def test_a_csv_with_a_split_column(tmp_path: Path) -> None:
    put(tmp_path, *(f"{i}.png" for i in range(7)))
    rows = ["0.png,a,train", "1.png,b,train", "2.png,b,val", "3.png,a,test", "4.png,a,test", "5.png,b,train"]
    file = tmp_path / "list.csv"
    file.write_text("\n".join(["path,label,split", *rows, "6.png,a,val"]))
    found = open_divided(str(file), "given", None, 0.2, 0)
    train, val, facts = found.train, found.val, found.facts
    assert names_of(train) == ["0.png", "1.png", "5.png"] and classes_of(val) == ["b", "a"]
    assert facts["split"] == {"how": "given", "train": "train", "val": "val", "unused": {"test": 2}}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["1.png", "2.png"], "no labels in .*; labels are read from train/CLASS/... and val/CLASS/..., .*RAF-DB"),
        (["dog/1.png", "dog/2.png"], "only one class, the folder dog of .*; an evaluation needs two"),
        (["a/1.png", "b/1.png"], "is not divided: give train/CLASS and val/CLASS .*or --split auto"),
        (["train/a/1.png", "train/b/1.png", "val/1.png"], "no labels in .*val; labels are read from"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png", *(f"val/{c}/1.png" for c in "cdefgh")],
            "6 classes of val are missing in train: c, d, e, f, g, ...; nothing could learn them",
        ),
    ],
)
def test_wrong_folders(files: list[str], said: str, tmp_path: Path) -> None:
    put(tmp_path, *files)
    with pytest.raises(UserError, match=said) as caught:
        open_divided(str(tmp_path), "given", None, 0.2, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.png\n2.png\n", "no labels in"),
        ("1.png,a\n2.png,a\n", "only one class, a; an"),
        ("path,label,split\n1.png,a,train\n2.png,b,val\n", "only one class, a; an"),
        ("path,label,split\n1.png,a,train\n2.png,b,train\n", "no row has val or test in its split column"),
        ("1.png,a\n2.png,b\n", r"is not divided: .*\(a .csv: a split column with train and val\)"),
    ],
)
def test_wrong_lists(text: str, said: str, tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        open_divided(str(tmp_path / "list.csv"), "given", None, 0.2, 0)


def test_wrong_groups(tmp_path: Path, divided_folder: Path) -> None:
    file = str(shots(tmp_path))
    for column, split, said in (
        ("shoot", "auto", "--group-by shoot: no such column in .*; there are shot, camera; did you mean shot?"),
        ("label", "auto", "no such column"),
        ("shot", "given", "--group-by shot is for --split auto"),
        ("camera", "auto", "no image of --data .* can go to val.*give more groups of a class"),
    ):
        with pytest.raises(UserError, match=said):
            open_divided(file, split, column, 0.2, 0)
    shots(tmp_path, "\na0.png,a,,x\n")
    with pytest.raises(UserError, match=r"1 rows of .* have nothing in this column"):
        open_divided(file, "auto", "shot", 0.2, 0)
    Path(file).write_text("a0.png,a\nb0.png,b\n")
    with pytest.raises(UserError, match="its header names no other than path, label and split"):
        open_divided(file, "auto", "shot", 0.2, 0)
    with pytest.raises(UserError, match=r"--group-by shot: needs --data LIST.csv"):
        open_divided(str(divided_folder), "auto", "shot", 0.2, 0)


def test_wrong_splits(divided_folder: Path) -> None:
    for share in (0, 1, 1.5):
        with pytest.raises(UserError, match=r"--val-share .*: must be between 0 and 1"):
            open_divided(str(divided_folder / "train"), "auto", None, share, 0)
    with pytest.raises(UserError, match=r"no image of .* can go to val.*more images of a class, or a larger"):
        open_divided(str(divided_folder / "test"), "auto", None, 0.2, 0)
