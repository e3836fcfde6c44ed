"""Points are where the files say, in every layout; what cannot be used is left out and told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel.data import decode
from lewel.errors import UserError
from lewel.evaluate.dense.truth import face_lists, pts
from lewel.evaluate.dense.truth.points import check_same_points, distances, normaliser, open_landmarks

SIZE = (60, 40)


def face(seed: int = 0, k: int = 68) -> np.ndarray:
    return np.random.default_rng(seed).uniform(5, 35, (k, 2)).round(3)


def hide(points: np.ndarray, *hidden: int) -> np.ndarray:
    """As files say it: -1 -1."""
    found = points.copy()
    found[list(hidden)] = -1 - pts.FIRST
    return found


def put(root: Path, name: str, points: np.ndarray | None = None, suffix: str = ".jpg") -> None:
    """An image, and its points beside it."""
    path = root / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE).save(path)
    path.with_suffix(".pts").write_text(pts.text(face() if points is None else points))


def test_the_centre_of_the_first_pixel_is_1_1_in_files_and_one_half_here(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text("version: 1\nn_points:  2\n{\n1 1\n44.712 75.622\n}\n")
    assert pts.read(tmp_path / "a.pts").tolist() == [[0.5, 0.5], [44.212, 75.122]]


def test_files_say_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text(pts.text(face()))
    assert np.allclose(pts.read(tmp_path / "a.pts"), face(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\nn_points: 2\n1 1\n2 2\n", "no { ... } with the points"),
        ("n_points: 3\n{\n1 1\n2 2\n}", "n_points says 3, there are 2"),
        ("{\n1 1 1\n}", "'1 1 1' is no x and y"),
        ("{\n1 one\n}", "one"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(ValueError, match=words):
        pts.read(tmp_path / "a.pts")


def test_folders(tmp_path: Path) -> None:
    put(tmp_path, "train/b", face(1))
    put(tmp_path, "train/deep/a", face(2), ".png")
    put(tmp_path, "val/c", face(3))
    train, val = open_landmarks(tmp_path, "train"), open_landmarks(tmp_path, "val")
    assert train.names == ("train/b.jpg", "train/deep/a.png") and val.names == ("val/c.jpg",)
    assert np.allclose(train.points, [face(1), face(2)], atol=1e-9, rtol=0)
    image, points = train.read(1)
    assert image.size == SIZE and image.mode == "RGB" and np.array_equal(points, train.points[1])
    assert val.path(0) == str(tmp_path / "val/c.jpg")
    assert val.facts()["subsets"] == {"full": 1} and not list(val.warnings())
    assert train.digest == open_landmarks(tmp_path, "train").digest != val.digest


def test_folders_below_test_are_subsets(tmp_path: Path) -> None:
    for name in ("test/easy/a", "test/easy/b", "test/hard/a"):
        put(tmp_path, name)
    found = open_landmarks(tmp_path, "val").facts()["subsets"]
    assert found == {"full": 3, "easy": 2, "hard": 1}


def test_folders_by_other_names(tmp_path: Path) -> None:
    """And test is measured on only where there is no val."""
    for name in ("Training/a", "valid/b", "test/c"):
        put(tmp_path, name)
    train, val = open_landmarks(tmp_path, "train"), open_landmarks(tmp_path, "val")
    assert train.names == ("Training/a.jpg",) and val.names == ("valid/b.jpg",)
    assert face_lists.said(tmp_path) == "valid is measured on; test is not used"
    put(tmp_path, "dev/d")
    with pytest.raises(UserError, match="dev and valid are all names of the part for val"):
        open_landmarks(tmp_path, "val")


def test_300w_as_it_comes(tmp_path: Path) -> None:
    places = ("afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug")
    for number, place in enumerate(places):
        for each in range(number + 1):
            put(tmp_path, f"{place}/{each}", suffix=".png" if "lfpw" in place else ".jpg")
    train, val = open_landmarks(tmp_path, "train"), open_landmarks(tmp_path, "val")
    assert len(train) == 1 + 2 + 4 and {name.rsplit("/", 1)[0] for name in train.names} == {*places[:2], places[3]}
    assert val.facts()["subsets"] == {"full": 3 + 5 + 6, "common": 3 + 5, "challenging": 6}
    assert [val.names[i].split("/")[0] for i in np.flatnonzero(val.subsets["challenging"])] == ["ibug"] * 6
    told = " ".join([*train.warnings(), *val.warnings()])
    assert "3,148" in told and "554" in told and "135" in told


def test_a_part_of_300w_that_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "afw/a")
    with pytest.raises(UserError, match="helen/trainset of 300W is missing"):
        open_landmarks(tmp_path, "train")


def test_lists_go_before_folders(tmp_path: Path) -> None:
    """A face may be in two of them."""
    for name in ("train/a", "test/b", "test/c", "test/d"):
        put(tmp_path, name)
    (tmp_path / "train.txt").write_text("train/a.jpg\ntest/d.jpg\n")
    (tmp_path / "common.txt").write_text("test/c.jpg\n\n")
    (tmp_path / "challenging.txt").write_text("test/b.jpg\r\ntest/c.jpg\r\n")
    train, val = open_landmarks(tmp_path, "train"), open_landmarks(tmp_path, "val")
    assert train.names == ("train/a.jpg", "test/d.jpg") and val.names == ("test/c.jpg", "test/b.jpg")
    assert val.facts()["subsets"] == {"full": 2, "common": 1, "challenging": 2}
    (tmp_path / "challenging.txt").unlink()
    assert open_landmarks(tmp_path, "val").facts()["subsets"] == {"full": 1}


def test_parts_that_are_missing_empty_or_twice(tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(UserError, match=words) as error:
            open_landmarks(tmp_path, "val")
        assert "\n" not in str(error.value)

    refused("has no faces with landmarks")
    put(tmp_path, "train/a")
    refused("test/ or val/ is missing; there is train/")
    (tmp_path / "test").mkdir()
    refused("test names no images")
    (tmp_path / "train.txt").write_text("train/a.jpg\n")
    refused("common.txt or challenging.txt or test.txt or val.txt is missing; there is train.txt")
    (tmp_path / "test.txt").write_text("\n")
    refused("test.txt names no images")
    (tmp_path / "test.txt").write_text("train/a.jpg\ntrain/a.jpg\n")
    refused("names train/a.jpg twice")
    (tmp_path / "test.txt").write_text("train/b.jpg\n")
    refused("of the 1 faces of test none can be used; .*train/b.pts: cannot be read: No such file")


def test_faces_that_cannot_be_used(tmp_path: Path) -> None:
    same_corners, out, far = face(), face() + 100, face()
    same_corners[36] = same_corners[45]
    far[0] = -20, 5
    for name, points in (("ok", face()), ("ok2", face(1)), ("eyes", same_corners), ("out", out), ("far", far)):
        put(tmp_path, f"train/{name}", points)
    put(tmp_path, "train/few", face(k=67))
    put(tmp_path, "train/inf", np.where(face() == face()[3, 0], np.inf, face()))
    put(tmp_path, "train/hidden", np.full((68, 2), np.nan))
    put(tmp_path, "train/corner", hide(face(), 45))
    put(tmp_path, "train/alone")
    (tmp_path / "train/alone.jpg").unlink()
    put(tmp_path, "train/bare")
    (tmp_path / "train/bare.pts").unlink()
    put(tmp_path, "train/damaged")
    (tmp_path / "train/damaged.jpg").write_bytes(b"no image")
    found = open_landmarks(tmp_path, "train")
    assert found.names == ("train/far.jpg", "train/ok.jpg", "train/ok2.jpg") and found.outside == ("train/far.jpg",)
    why = {Path(skip.path).name: skip.reason for skip in found.skipped}
    assert why.pop("damaged.jpg").startswith("not an image")
    assert why == {
        "eyes.pts": "the distance of the outer eye corners is 0",
        "out.pts": "all points are outside the image, 60 x 40",
        "few.pts": "has 67 points, most others 68",
        "inf.pts": "has points that are infinite",
        "hidden.pts": "all points are hidden",
        "corner.pts": "the distance of the outer eye corners is hidden",
        "alone.pts": "its image is missing",
        "bare.pts": "cannot be read: No such file or directory",
    }
    assert found.facts()["skipped"] == 9 and found.facts()["far_outside"] == 1
    skipped, outside = found.warnings()
    assert skipped.startswith("train: 9 faces skipped: ") and "1 faces have points far outside: train/far" in outside


def test_both_parts_have_the_same_points(tmp_path: Path) -> None:
    put(tmp_path, "train/a")
    put(tmp_path, "test/a", face(k=5))
    train, val = open_landmarks(tmp_path, "train"), open_landmarks(tmp_path, "val")
    check_same_points(train, train)
    with pytest.raises(UserError, match="train have 68 points, those of test 5"):
        check_same_points(train, val)


def test_errors_are_divided_by_the_outer_eye_corners_or_the_diagonal() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 36], points[0, 45], points[0, 8] = (10, 10), (13, 14), (50, 90)
    assert distances(points).tolist() == [5] and "eye corners" in normaliser(68)
    assert distances(np.array([[[0.0, 1], [3, 1], [1, 5]]])).tolist() == [5] and "diagonal" in normaliser(3)


def test_sizes_are_those_of_upright_images(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", SIZE).save(tmp_path / "a.jpg", exif=exif)
        assert decode.size(tmp_path / "a.jpg") == decode.decode(tmp_path / "a.jpg").size


def test_points_that_nobody_could_see(tmp_path: Path) -> None:
    """By any of the ways in which files say so; one coordinate of 0 or -1 is a place."""
    (tmp_path / "test").mkdir()
    for number, hidden in enumerate(("-1 -1", "0 0", "nan nan", "NaN 12", "-1.000 -1.0", "0 12", "-1 12")):
        Image.new("RGB", SIZE).save(tmp_path / f"test/{number}.png")
        text = f"n_points: 5\n{{\n{hidden}\n20 12\n15 20\n11 30\n21 30\n}}"
        (tmp_path / f"test/{number}.pts").write_text(text)
    found = open_landmarks(tmp_path, "val")
    assert found.hidden[:5, 0].all() and found.hidden.sum() == 5 and found.facts()["hidden_points"] == 5
    assert found.points[5, 0].tolist() == [-0.5, 11.5] and found.points[6, 0].tolist() == [-1.5, 11.5]
    assert list(found.warnings()) == [
        "test: 5 points of 5 faces are hidden (-1 -1, 0 0 or nan): left out of the loss and of the errors"
    ]
    assert np.allclose(distances(found.points)[:5], np.hypot(10, 18))  # of the box of the four others


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_of_points(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.pts").write_text("version: 1\r\nn_points: 1\r\n{\r\n 3 4 \r\n\r\n}\r\n", encoding=encoding)
    assert pts.read(tmp_path / "a.pts").tolist() == [[2.5, 3.5]]


@pytest.mark.parametrize("content", [b"\x89PNG", b"", b"\xff\xfe{", b"{\n1 1\n2 2", b"{\n1,1\n}", b"{" + b"\0" * 9])
def test_points_that_are_none_are_told_with_their_file(tmp_path: Path, content: bytes) -> None:
    for name in ("a", "b"):
        put(tmp_path, f"train/{name}")
    (tmp_path / "train/b.pts").write_bytes(content)
    found = open_landmarks(tmp_path, "train")
    (skip,) = found.skipped
    assert found.names == ("train/a.jpg",) and skip.path.endswith("b.pts") and skip.reason
    assert "--data" not in skip.reason and "b.pts" not in skip.reason
    os.remove(tmp_path / "train/a.jpg")
    with pytest.raises(UserError, match=r"of the 1 faces of train none can be used; .*\.pts: ") as error:
        open_landmarks(tmp_path, "train")
    assert str(error.value).count("--data") == 1


@pytest.mark.parametrize(
    "line",
    [b"train\\a.jpg", b"train/a", b"train/a.pts", b"train/a.JPG", b"\xef\xbb\xbftrain/a.jpg", b"  train/a.jpg\r"],
)
def test_lines_of_lists(tmp_path: Path, line: bytes) -> None:
    put(tmp_path, "train/a")
    (tmp_path / "train.txt").write_bytes(line + b"\n\n")
    assert open_landmarks(tmp_path, "train").names == ("train/a.jpg",)
