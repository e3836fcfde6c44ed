"""The face data sets' own files, written here as their pages describe them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lewel.errors import UserError
from lewel.evaluate.faces import open_faces
from lewel.evaluate.parts import Labelled


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def names_of(part: Labelled) -> list[str]:
    return list(part.images.names)


def said(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_faces(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_any_other_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "val/a/1.png")
    assert open_faces(tmp_path) is None


# -- CelebA


def celeba(root: Path, parts: str, official: bool = False) -> Path:
    """Five faces and three attributes; a list of another order than the partitions."""
    lists, partitions, images = ("Anno/", "Eval/", "Img/") if official else ("", "", "")
    files = [f"00000{i}.jpg" for i in range(1, 6)]
    touch(root, *(f"{images}img_align_celeba/{file}" for file in files), f"{lists}x", f"{partitions}x")
    values = ["-1  1 -1", " 1 -1 -1", " 1  1  1", "-1 -1  1", " 1 -1  1"]
    rows = [f"{file} {value}" for file, value in zip(files, values, strict=True)]
    (root / lists / "list_attr_celeba.txt").write_text("\n".join(["5", "Bald Male Young ", *rows, ""]))
    parted = [f"{file} {part}" for file, part in zip(files, parts, strict=True)][::-1]
    (root / partitions / "list_eval_partition.txt").write_text("\r\n".join(parted))
    return root


@pytest.mark.parametrize("official", [False, True])
def test_celeba(tmp_path: Path, official: bool) -> None:
    found = open_faces(celeba(tmp_path, "00212", official))
    assert found is not None
    train, val, facts = found.train, found.val, found.facts
    assert train.names == ("Bald", "Male", "Young") and train.is_multilabel and train.targets.dtype == np.uint8
    assert names_of(train) == ["000001.jpg", "000002.jpg"] and train.targets.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert names_of(val) == ["000003.jpg", "000005.jpg"] and val.targets.tolist() == [[1, 1, 1], [1, 0, 1]]
    assert facts["layout"] == "CelebA" and facts["attributes"] == ["Bald", "Male", "Young"]
    assert facts["unused"] == {"partition 1 (validation)": 1} and facts["split"]["val"] == "2 (test)"
    assert facts["val"]["per_attribute"] == {"fewest": 1, "most": 2}
    assert train.subset(np.array([1])).targets.tolist() == [[1, 0, 0]]


def test_celeba_without_a_test_part(tmp_path: Path) -> None:
    found = open_faces(celeba(tmp_path, "00111"))
    assert found is not None and len(found.val) == 3
    assert found.facts["split"]["val"] == "1 (validation; no test part)" and found.facts["unused"] == {}


def test_wrong_celeba(tmp_path: Path) -> None:
    listed, parted = tmp_path / "list_attr_celeba.txt", tmp_path / "list_eval_partition.txt"
    celeba(tmp_path, "00212")
    right, partitions = listed.read_text(), parted.read_text()
    for wrong, message in (
        (right.replace("5\n", "6\n", 1), "its first line says 6 images, and it has 5"),
        (right.replace("-1  1 -1", "-1  0 -1"), "-1 or 1 of each of the 3 attributes"),
        (right.replace("Bald ", ""), "-1 or 1 of each of the 2 attributes"),
        (right.replace("-1  1 -1", "-1  1"), "-1 or 1 of each attribute: "),
        (right.replace("-1  1 -1", "-1  1 x"), "-1 or 1 of each attribute: "),
        (right.replace("-1  1 -1", ""), "-1 or 1 of each attribute"),
        ("5\nBald\n", "has 2 lines; needs the count"),
        (right.replace("000004", "4"), "has no partition of 1 listed images: 4.jpg"),
    ):
        listed.write_text(wrong)
        assert message in said(tmp_path)
    listed.write_text(right)
    parted.write_text(partitions.replace("000001.jpg 0", "000001.jpg"))
    assert "1 rows are not a file and a number: 000001.jpg" in said(tmp_path)
    parted.write_text(partitions.replace("000001.jpg 0", "000001.jpg x"))
    assert "000001.jpg has 'x', which is no number" in said(tmp_path)
    celeba(tmp_path, "22222")
    assert "no images for train" in said(tmp_path)
    celeba(tmp_path, "00212")
    for name in ("1", "4", "5"):
        (tmp_path / f"img_align_celeba/00000{name}.jpg").unlink()
    assert "2 of 4 listed images are not there: 000001.jpg, 000005.jpg" in said(tmp_path)  # 4 is not used


# -- RAF-DB


def raf_db(root: Path, *rows: str) -> Path:
    for row in rows:
        touch(root, f"Image/aligned/{row.split('.')[0]}_aligned.jpg")
    touch(root, "EmoLabel/x")
    (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(rows))
    return root


RAF_ROWS = ("train_00001.jpg 5", "train_00002.jpg 1", "test_0001.jpg 1", "train_00003.jpg 7", "test_0002.jpg 7")


@pytest.mark.parametrize("below", ["", "basic"])
def test_raf_db(tmp_path: Path, below: str) -> None:
    raf_db(tmp_path / below, *RAF_ROWS)
    found = open_faces(tmp_path)
    assert found is not None
    train, val, facts = found.train, found.val, found.facts
    assert names_of(val) == ["test_0001_aligned.jpg", "test_0002_aligned.jpg"]
    assert [train.names[target] for target in train.targets] == ["sadness", "surprise", "neutral"]
    assert val.targets.tolist() == [0, 6] == val.images.labels.tolist()
    assert facts["layout"] == "RAF-DB basic" and facts["classes"] == 7


def test_wrong_raf_db(tmp_path: Path) -> None:
    assert "1 labels are not 1 to 7: of train_9.jpg" in said(raf_db(tmp_path, *RAF_ROWS, "train_9.jpg 0"))
    assert "1 names begin with neither train_ nor test_: 9.jpg" in said(raf_db(tmp_path, *RAF_ROWS, "9.jpg 1"))
    assert "1 classes of val are missing in train: fear" in said(raf_db(tmp_path, *RAF_ROWS, "test_9.jpg 2"))
    raf_db(tmp_path, *RAF_ROWS)
    for number in (1, 2, 3):
        (tmp_path / f"Image/aligned/train_0000{number}_aligned.jpg").unlink()
    (tmp_path / "Image/aligned/test_0001_aligned.jpg").unlink()
    assert "3 of 3 listed images are not there: train_00001_aligned.jpg, train_00002_ali" in said(tmp_path)


# -- AffectNet

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"


def affectnet(root: Path, train: list[int], val: list[int], header: bool, images: str) -> None:
    for name, labels in (("training", train), ("validation", val)):
        rows = [f"{7 * i}/{name}{i}.JPG,1,2,3,4,5.5;6.5,{label},-0.1,0.2" for i, label in enumerate(labels)]
        touch(root, f"Manually_Annotated_file_lists/{name}.csv")
        (root / f"Manually_Annotated_file_lists/{name}.csv").write_text(HEADER * header + "\n".join(rows))
        touch(root, *(f"{images}/{row.split(',')[0]}" for row in rows if row.split(",")[6] != "9"))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("images", ["Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images"])
def test_affectnet(tmp_path: Path, header: bool, images: str) -> None:
    affectnet(tmp_path, [6, 0, 7, 9, 1, 10], [1, 8, 6], header, images)
    found = open_faces(tmp_path)
    assert found is not None
    train, val, facts = found.train, found.val, found.facts
    assert [train.names[target] for target in train.targets] == ["anger", "neutral", "happiness"]
    assert names_of(train) == ["0/training0.JPG", "7/training1.JPG", "28/training4.JPG"]
    assert val.targets.tolist() == [1, 6]
    assert facts["layout"] == "AffectNet-7, lists" and facts["other_labels"] == {"train": 3, "val": 1}


def test_wrong_affectnet(tmp_path: Path) -> None:
    affectnet(tmp_path, [0, 1], [0, 1], True, "Manually_Annotated_Images")
    listed = tmp_path / "Manually_Annotated_file_lists/training.csv"
    right = listed.read_text()
    listed.write_text(right.replace(",1,-0.1", ",happy,-0.1"))
    assert "7/training1.JPG has 'happy', which is no number" in said(tmp_path)
    listed.write_text(right + "\na.jpg,1\n")
    assert "a row has fewer than 7 columns" in said(tmp_path)
    listed.write_text(right)
    (tmp_path / "Manually_Annotated_Images/7/training1.JPG").unlink()
    assert "1 of 2 listed images are not there: 7/training1.JPG" in said(tmp_path)


def arrays(root: Path) -> None:
    for part, labels in (("train_set", [0, 6, 7, 2]), ("val_set", [2, 6])):
        for i, label in enumerate(labels):
            touch(root, f"{part}/images/{i}.jpg", f"{part}/annotations/{i}_aro.npy")
            np.save(root / f"{part}/annotations/{i}_exp.npy", np.array(str(label) if i % 2 else label))


def test_affectnet_arrays(tmp_path: Path) -> None:
    arrays(tmp_path)
    found = open_faces(tmp_path)
    assert found is not None
    train, val, facts = found.train, found.val, found.facts
    assert names_of(train) == ["0.jpg", "1.jpg", "3.jpg"] and train.targets.tolist() == [0, 6, 2]
    assert val.targets.tolist() == [2, 6]
    assert facts["layout"] == "AffectNet-7, arrays" and facts["other_labels"] == {"train": 1, "val": 0}


def npy_of(header: str) -> bytes:
    line = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


def test_wrong_affectnet_arrays(tmp_path: Path) -> None:
    arrays(tmp_path)
    annotation = tmp_path / "train_set/annotations/1_exp.npy"
    np.save(annotation, np.array([{"a": 1}]), allow_pickle=True)  # never unpickled
    assert "1_exp.npy has '', which is no number" in said(tmp_path)
    for damaged in (b"", npy_of("{'descr': '<i8', 'shape': (")):
        annotation.write_bytes(damaged)
        assert "1_exp.npy has '', which is no number" in said(tmp_path)
    annotation.unlink()
    assert "1 images have no N_exp.npy: 1" in said(tmp_path)
    (tmp_path / "train_set/images/1.jpg").unlink()
    (tmp_path / "train_set/images/0.jpg").unlink()
    assert "1 of 2 listed images are not there: 0.jpg" in said(tmp_path)
