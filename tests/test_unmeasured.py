"""What pretraining says, and does, where its encoder cannot be measured: it needs no labels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lewel.config import Options
from lewel.data.images import is_divided, open_images
from lewel.run import _queries

CLASSES = ("train/cat", "train/dog", "val/cat", "val/dog")


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([f"{folder}/1.png" for folder in CLASSES], ""),
        ([f"{folder}/1.png" for folder in ("Train/a", "Train/b", "VALID/b")] + ["VALID/a/1.png"], ""),
        (["cat/1.png", "dog/1.png"], "is not divided into train and val"),
        (
            [*(f"{folder}/1.png" for folder in CLASSES), "train/cover.png"],
            "1 image lies beside its class folders (cover.",
        ),
        (
            [*(f"{folder}/1.png" for folder in CLASSES), "val/x.png", "val/y.png"],
            "2 images lie beside its class folders",
        ),
        (
            ["train/2024-01/1.png", "train/2024-02/1.png", "val/cat/1.png", "val/dog/1.png"],
            "has 2 classes that the images",
        ),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "only one class, the folder a of "),
        (["train/a/1.png", "train/b/1.png", "val/1.png"], "no labels in "),
        (
            [f"{part}/{name}/1.png" for part in ("train", "val", "valid") for name in "ab"],
            "val and valid are all names of",
        ),
    ],
)
def test_training_goes_on_and_the_reason_is_told(tmp_path: Path, names: list[str], why: str) -> None:
    put(tmp_path, *names)
    divided = is_divided(tmp_path)
    images = open_images(tmp_path, "train" if divided else None)
    queries, told = _queries(Options(str(tmp_path), "run"), images, divided)
    assert (queries is None) == bool(why) and why in told and bool(told) == bool(why)
    assert "\n" not in told


@pytest.mark.skipif(sys.platform != "linux", reason="names of files have no encoding elsewhere")
def test_a_file_system_whose_names_are_ascii(tmp_path: Path) -> None:
    """Folders, lists and an index give the same names, and files that open, as with UTF-8."""
    put(tmp_path, "d/aé/ü.png", "d/b/1.png", "ö/1.png")
    (tmp_path / "d/l.csv").write_text("path,label\naé/ü.png,é\nb/1.png,b\n", encoding="utf-8")
    code = """
import sys; from pathlib import Path; from lewel.data import index; from lewel.data.images import open_images
assert sys.getfilesystemencoding() == "ascii"
for data in ("d", "d/l.csv", "d", sys.argv[1]):
    images = open_images(data)
    Path("i.safetensors").write_bytes(index.to_bytes({"images": images}))
    for found in (images, open_images("i.safetensors")):
        print(ascii([found.path(i) for i in range(len(found))]), found.read(0).size, ascii(found.classes))
"""
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, "ö"], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    folder = ascii(["d/aé/ü.png", "d/b/1.png"])
    expected = [f"{folder} (4, 4) {['aé', 'b']!a}"] * 2 + [f"{folder} (4, 4) {['b', 'é']!a}"] * 2
    expected += [f"{folder} (4, 4) {['aé', 'b']!a}"] * 2 + [f"{['ö/1.png']!a} (4, 4) None"] * 2
    assert done.stdout.decode().splitlines() == expected
