"""Files of features: what is read back is what the network gives, by plain numpy and pyarrow."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lewel import cli
from lewel.config import Extraction
from lewel.data.images import open_images
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate import embed as embedding
from lewel.evaluate.embed import embed
from lewel.evaluate.features import extract
from lewel.evaluate.subject import open_subject
from lewel.interop import weights
from lewel.model.encoder import Encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    weights.save_encoder(Encoder("test_resnet"), path, {"image_size": 32, "mean": (0.5,) * 3, "std": (0.2,) * 3})
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """6 for training and 3 for validation, of the classes a, b and a, ü."""
    for split, classes, count in (("train", "ab", 6), ("val", "aü", 3)):
        for number in range(count):
            path = tmp_path / "images" / split / classes[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3)).astype(np.uint8)
            Image.fromarray(noise).save(path)
    return tmp_path / "images"


def options(encoder: str, images: Path, **more) -> Extraction:
    return Extraction(encoder, str(images), device="cpu", precision="fp32", workers=0, **more)


def expected(encoder: str, images: Path, split) -> np.ndarray:
    subject = open_subject(encoder)
    found = open_images(images, split)
    return extract(subject.features, found, subject.data(), Precision(torch.device("cpu"), "fp32"))[0].numpy()


def test_npz_round_trip(encoder: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = images / "train" / "a" / "2.png"
    broken.write_bytes(b"no image")
    embed(options(encoder, images), tmp_path / "out.npz", "all")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        read = {name: file[name] for name in file.files}
    both = np.concatenate([expected(encoder, images, split) for split in ("train", "val")])
    assert read["features"].dtype == np.float32 and np.array_equal(read["features"], both)
    assert read["labels"].tolist() == ["a", "a", "b", "b", "b", "a", "a", "ü"]
    assert [Path(path).relative_to(images).as_posix() for path in read["paths"]][-2:] == ["val/a/2.png", "val/ü/1.png"]
    metadata = json.loads(read["metadata"].item())
    assert metadata["weights"] == open_subject(encoder).facts()
    assert metadata["image_size"] == 32 and [each["path"] for each in metadata["unreadable"]] == [str(broken)]
    assert "8 x 96 features, 1 unreadable images left out" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["images", "out.npz"]


def test_parquet_holds_the_same(encoder: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(embedding, "ROWS", 2)
    embed(options(encoder, images), tmp_path / "out.parquet", "val")
    read = parquet.read_table(tmp_path / "out.parquet")
    assert np.array_equal(np.stack(read["features"].to_numpy()), expected(encoder, images, "val"))
    assert read["labels"].to_pylist() == ["a", "a", "ü"]
    assert [Path(path).name for path in read["paths"].to_pylist()] == ["0.png", "2.png", "1.png"]
    assert json.loads(read.schema.metadata[b"lewel"])["split"] == "val"


def test_images_without_labels_have_none(encoder: str, images: Path, tmp_path: Path) -> None:
    embed(options(encoder, images / "train" / "a", image_size=48), tmp_path / "out.npz", "all")
    with np.load(tmp_path / "out.npz") as file:
        assert sorted(file.files) == ["features", "metadata", "paths"] and len(file["paths"]) == 3
        assert json.loads(file["metadata"].item())["image_size"] == 48


def test_the_command(encoder: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--data", str(images), "--split", "train", "--device", "cpu", "--precision", "fp32", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["lewel", "embed", "--weights", encoder, *flags, "--out", f"{tmp_path}/out.npz"])
    cli.main()
    with np.load(tmp_path / "out.npz") as file:
        assert np.array_equal(file["features"], expected(encoder, images, "train"))


@pytest.mark.parametrize(
    ("out", "split", "message"),
    [
        ("out.csv", "all", r"ends in .npz or .parquet"),
        ("nowhere/out.npz", "all", r"the folder .*nowhere does not exist"),
        ("out.npz", "val", r"is not divided"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    out: str, split, message: str, encoder: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        embed(options(encoder, images / "train"), tmp_path / out, split)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == ["images"]


def test_parquet_without_pyarrow(encoder: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'lewel\[parquet\]' brings pyarrow; or give FILE\.npz"):
        embed(options(encoder, images), tmp_path / "out.parquet", "all")


def test_a_full_disk_leaves_the_file_of_before(
    encoder: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.npz").write_bytes(b"before")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"not written \(No space left.*make room"):
        embed(options(encoder, images), tmp_path / "out.npz", "all")
    assert (tmp_path / "out.npz").read_bytes() == b"before" and sorted(os.listdir(tmp_path)) == ["images", "out.npz"]


ODD = (
    "Screenshot at 4.42\u202fPM.png",
    "a\u00a0b.png",
    "\U0001f468\u200d\U0001f469.png",
    "two\nlines.png",
    "caf\udce9.png",
)


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_names_are_kept_byte_for_byte(encoder: str, tmp_path: Path, ending: str) -> None:
    for folder in ("a\u00a0b", "caf\udce9"):
        (tmp_path / "d" / folder).mkdir(parents=True)
        for name in ODD:
            Image.new("RGB", (40, 40)).save(tmp_path / "d" / folder / name, "PNG")
    (tmp_path / "d" / "caf\udce9" / "bad\udcff.png").write_bytes(b"x")
    embed(options(encoder, tmp_path / "d"), tmp_path / f"out.{ending}", "all")
    if ending == "npz":
        with np.load(tmp_path / "out.npz") as file:
            paths, labels, metadata = file["paths"].tolist(), set(file["labels"].tolist()), file["metadata"].item()
    else:
        read = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
        paths, labels = ([*map(os.fsdecode, read[name].to_pylist())] for name in ("paths", "labels"))
        labels, metadata = set(labels), read.schema.metadata[b"lewel"]
    assert sorted(Path(path).name for path in paths) == sorted(2 * ODD) and all(map(os.path.isfile, paths))
    assert labels == {"a\u00a0b", "caf\udce9"}
    assert [Path(each["path"]).name for each in json.loads(metadata)["unreadable"]] == ["bad\udcff.png"]
