"""train_aug: VOC's masks where there are some, SBD's elsewhere, none of val; readable as VOC, and resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import io, sparse

from command import lewel
from lewel.data import scenes
from lewel.errors import UserError
from lewel.evaluate.dense.truth.masks import open_segmentation
from lewel.prepare import voc_aug

SIZE = (9, 6)  # width, height


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 21, SIZE[::-1]).astype(np.uint8)


def put_mat(path: Path, values: np.ndarray) -> None:
    """As SBD has them: a struct with two other fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    edges = np.empty((20, 1), object)
    for place in range(20):
        edges[place, 0] = sparse.csc_matrix(values.shape[-2:], dtype=bool)
    io.savemat(path, {"GTcls": {"Segmentation": values, "Boundaries": edges, "CategoriesPresent": np.unique(values)}})


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """VOC: t1, t2 for training, v1 for validation. SBD: t2, v1 and two others."""
    year = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (year / folder).mkdir(parents=True)
    for seed, name in enumerate(("t1", "t2", "v1", "s1", "s2")):
        Image.new("RGB", SIZE, (seed, 0, 0)).save(year / "JPEGImages" / f"{name}.jpg")
    for seed, name in enumerate(("t1", "t2", "v1")):
        (year / f"SegmentationClass/{name}.png").write_bytes(scenes.png(mask(seed)))
    for split, names in (("train", "t1\nt2\n"), ("val", "v1\n"), ("trainval", "t1\nt2\nv1\n")):
        (year / f"ImageSets/Segmentation/{split}.txt").write_text(names)
    for seed, name in enumerate(("t2", "v1", "s1", "s2"), 10):
        put_mat(tmp_path / "benchmark_RELEASE/dataset/cls" / f"{name}.mat", mask(seed))
    return tmp_path / "VOCdevkit", tmp_path / "benchmark_RELEASE"


def made(data: tuple[Path, Path], out: Path, workers: int = 1) -> int:
    return voc_aug.write(voc_aug.plan(*data), out, workers, lambda count: None)


def test_masks_are_vocs_own_then_sbds(data, tmp_path: Path) -> None:
    out = tmp_path / "aug"
    assert made(data, out) == 4
    found = open_segmentation(out, "train")
    assert found.split == "trainaug" and found.names == ("s1", "s2", "t1", "t2")
    for place, seed in enumerate((12, 13, 0, 1)):
        assert np.array_equal(found.mask(place), mask(seed))
    assert (out / "SegmentationClassAug/t2.png").read_bytes() == (
        data[0] / "VOC2012/SegmentationClass/t2.png"
    ).read_bytes()
    with Image.open(out / "SegmentationClassAug/s1.png") as image:
        assert image.mode == "P" and bytes(image.getpalette() or []) == scenes.PALETTE
    assert found.image_file(0).resolve() == (data[0] / "VOC2012/JPEGImages/s1.jpg").resolve()
    assert open_segmentation(out, "val").names == ("v1",)


def test_counts_are_compared_with_the_published_ones(data) -> None:
    planned = voc_aug.plan(*data)
    assert planned.counts == {"train_aug": 4, "VOC train": 2, "VOC val": 1, "SBD": 4}
    first, *_ = voc_aug.told(planned.counts)
    assert first == "train_aug: 4 images, where the published one has 10,582"
    assert all(line.endswith("as published") for line in voc_aug.told(voc_aug.COUNTS))


def test_it_goes_on_and_leaves_what_is_there(data, tmp_path: Path) -> None:
    out = tmp_path / "aug"
    made(data, out)
    masks = out / "SegmentationClassAug"
    (masks / "s2.png").unlink()
    (out / "ImageSets/Segmentation/trainaug.txt").unlink()
    (masks / ".s2.png.99.tmp").write_bytes(b"half")
    before = (masks / "s1.png").stat().st_mtime_ns
    assert made(data, out) == 1 and made(data, out) == 0
    assert (masks / "s1.png").stat().st_mtime_ns == before
    assert sorted(path.name for path in masks.iterdir()) == ["s1.png", "s2.png", "t1.png", "t2.png"]
    assert (out / "ImageSets/Segmentation/trainaug.txt").read_text() == "s1\ns2\nt1\nt2\n"


def test_the_list_is_written_last(data, tmp_path: Path) -> None:
    put_mat(data[1] / "dataset/cls/s2.mat", np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match=r"s2\.mat is 3 x 3, its image 9 x 6"):
        made(data, tmp_path / "aug")
    assert not (tmp_path / "aug/ImageSets/Segmentation/trainaug.txt").exists()


def test_any_number_of_processes_makes_the_same(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc_aug, "CHUNK", 2)
    made(data, tmp_path / "one")
    made(data, tmp_path / "two", workers=2)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "SegmentationClassAug").iterdir()}
        for name in ("one", "two")
    )
    assert one == two and len(one) == 4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(SIZE[::-1], 21, np.uint8), r"s1\.mat has the value 21; 0 to 20 are classes"),
        (np.zeros((2, 6, 9), np.uint8), "is no mask: uint8 of shape"),
        (np.full(SIZE[::-1], -1), "is no mask: int"),
    ],
)
def test_masks_that_do_not_fit(data, tmp_path: Path, values: np.ndarray, words: str) -> None:
    put_mat(data[1] / "dataset/cls/s1.mat", values)
    with pytest.raises(UserError, match=words):
        made(data, tmp_path / "aug")


def test_errors(data, tmp_path: Path) -> None:
    voc, sbd = data
    (sbd / "dataset/cls/s1.mat").write_bytes(b"no mat")
    with pytest.raises(UserError, match=r"s1\.mat cannot be read"):
        made(data, tmp_path / "aug")
    with pytest.raises(UserError, match="has no folder cls"):
        voc_aug.plan(voc, voc)
    for inside in (voc / "VOC2012", voc / "VOC2012/aug", sbd / "dataset/aug"):
        with pytest.raises(UserError, match="lies in the data that are read"):
            made(data, inside)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("")
    with pytest.raises(UserError, match=r"holds other things \(mine.txt\)"):
        made(data, tmp_path / "other")
    (tmp_path / "masks/SegmentationClassAug").mkdir(parents=True)
    (tmp_path / "masks/SegmentationClassAug/x.png").write_text("")
    with pytest.raises(UserError, match=r"holds masks of other data \(x.png\)"):
        made(data, tmp_path / "masks")


def test_the_command(data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voc, sbd = data
    for words in ("4 masks were missing", "all is there already"):
        assert lewel("data", "voc-aug", voc, "--sbd", sbd, "--out", tmp_path / "aug", "--workers", "1") == 0
        said = capsys.readouterr().err
        assert words in said and "train_aug: 4 images, where the published one has 10,582" in said
    assert lewel("data", "voc-aug", voc, "--sbd", sbd, "--out", tmp_path / "aug", "--workers", "0") == 2
