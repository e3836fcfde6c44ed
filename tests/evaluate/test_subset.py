"""Few labelled images: by a list and by a share, and no 10 % that is called 1 %."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lewel.data.cifar import Pixels
from lewel.data.folder import Files
from lewel.data.names import Names
from lewel.errors import UserError
from lewel.evaluate.parts import Labelled
from lewel.evaluate.subset import by_list, by_share, check_share


def labelled(names: list[str]) -> Labelled:
    classes = sorted({name.split("/")[0] for name in names})
    labels = np.array([classes.index(name.split("/")[0]) for name in names])
    return Labelled(Files("/data/train", Names.of(names), labels, classes), labels, tuple(classes))


def of_sizes(*sizes: int) -> Labelled:
    return labelled([f"n{c:02}/n{c:02}_{i}.JPEG" for c, size in enumerate(sizes) for i in range(size)])


def chosen(subset: Labelled) -> list[str]:
    assert isinstance(subset.images, Files)
    return list(subset.images.names)


@pytest.mark.parametrize("line", ["{2}", "{1}/{2}", "train/{1}/{2}", "./{1}/{2}"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_by_path(line: str, end: str, tmp_path: Path) -> None:
    train, file = of_sizes(5, 5), tmp_path / "few.txt"
    wanted = [("train", "n01", "n01_3.JPEG"), ("train", "n00", "n00_2.JPEG"), ("train", "n01", "n01_0.JPEG")]
    file.write_bytes(end.join(line.format(*each) for each in wanted).encode())
    subset = by_list(train, file)
    assert chosen(subset.images) == ["n00/n00_2.JPEG", "n01/n01_0.JPEG", "n01/n01_3.JPEG"]  # in the images' order
    assert subset.images.targets.tolist() == [0, 1, 1] == subset.images.images.labels.tolist()
    assert subset.facts["list"] == "few.txt"
    assert subset.facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert subset.facts["per_class"] == {"fewest": 1, "most": 2}
    assert (subset.facts["images"], subset.facts["of"]) == (3, 10)


def test_names_of_different_depths_in_one_list(tmp_path: Path) -> None:
    train = labelled(["a/x/1.png", "a/2.png", "b/x/1.png", "b/3.png"])
    (tmp_path / "l.txt").write_text("train/a/x/1.png\ntrain/a/2.png\n3.png\n")
    assert chosen(by_list(train, tmp_path / "l.txt").images) == ["a/x/1.png", "a/2.png", "b/3.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; it needs the name"),
        (
            "1.png\na/7.png\nc/8.png\n9.png\n/a/1.png\n",
            "5 of its 5 names do not exist.*: 1.png, a/7.png, c/8.png, ...;",
        ),
        ("2.png\nb/3.png\n", r"1 of its names are of several images: 2.png; give them as CLASS/name"),
        ("a/2.png\n", "names no image of 1 of the 2 classes: b; every class"),
        ("b/3.png\na/2.png\nb/3.png\n", "names 1 images more than once: b/3.png"),
    ],
)
def test_wrong_lists(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        by_list(labelled(["a/11.png", "a/2.png", "b/2.png", "b/3.png"]), tmp_path / "l.txt")
    assert "\n" not in str(caught.value)


def test_lists_need_a_file_and_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        by_list(of_sizes(2, 2), tmp_path / "nowhere.txt")
    (tmp_path / "l.txt").write_text("1.png\n")
    labels = np.array([0, 1])
    pixels = Pixels("test_batch.bin", np.zeros((2, 4, 4, 3), np.uint8), labels, ["a", "b"])
    with pytest.raises(UserError, match="have no names"):
        by_list(Labelled(pixels, labels, ("a", "b")), tmp_path / "l.txt")


def test_a_share_is_stratified_nested_and_seeded() -> None:
    train = of_sizes(100, 41, 250, 3)
    one, ten, all_of_it = (by_share(train, share, 0).images for share in (0.01, 0.1, 1))
    assert one.counts().tolist() == [1, 1, 3, 1]
    assert ten.counts().tolist() == [10, 4, 25, 1]
    assert set(chosen(one)) < set(chosen(ten)) < set(chosen(all_of_it)) == set(chosen(train))
    assert chosen(by_share(train, 0.1, 0).images) == chosen(ten) != chosen(by_share(train, 0.1, 1).images)


def test_a_share_is_the_same_everywhere() -> None:
    """Written down once: no version and no machine may change it."""
    numbers = [name.removesuffix(".JPEG").split("_")[1] for name in chosen(by_share(of_sizes(40, 20), 0.1, 7).images)]
    assert numbers == ["0", "4", "29", "37", "7", "10"]


def test_wrong_shares() -> None:
    for share in (0, -0.1, 1.1):
        with pytest.raises(UserError, match="above 0 and at most 1"):
            by_share(of_sizes(2, 2), share, 0)
    faces = Labelled(of_sizes(2, 2).images, np.zeros((4, 3), np.uint8), ("a", "b", "c"))
    with pytest.raises(UserError, match="have attributes"):
        by_share(faces, 0.5, 0)


def test_ten_per_cent_is_not_called_one() -> None:
    train = of_sizes(1000, 1000)
    one, ten = (by_share(train, share, 0).images for share in (0.01, 0.1))
    check_share(one, train, 0.01)
    check_share(ten, train, 0.1)
    with pytest.raises(
        UserError, match=r"200 of 2000 images \(10 %\), but this protocol takes 1 % \(14 to 30 images\)"
    ):
        check_share(ten, train, 0.01)
    with pytest.raises(
        UserError, match=r"20 of 2000 images \(1 %\), but this protocol takes 10 % \(134 to 300 images\)"
    ):
        check_share(one, train, 0.1)


@pytest.mark.parametrize("sizes", [(5, 5), (30, 30), (100, 1, 1, 1), (149, 149), (151, 150), (1000, 3, 3, 50)])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_what_a_share_takes_is_that_share(sizes: tuple[int, ...], share: float) -> None:
    """Also where one image a class is more than the share."""
    check_share(by_share(of_sizes(*sizes), share, 0).images, of_sizes(*sizes), share)
