"""`lewel bench data` end to end, small: every contender, a table, a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from lewel import recipes
from lewel.bench import compare, data, one_file
from lewel.bench.commands import bench_data
from lewel.data.folder import Files
from lewel.data.images import Pixels, open_images
from lewel.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes half a minute; the slow tests of the tensors do it."""
    both = data._contenders
    monkeypatch.setattr(data, "_contenders", lambda *a: [each for each in both(*a) if "compiled" not in each.name])


def test_every_contender_is_measured_and_written(folder: Path, tmp_path: Path, uncompiled, capsys) -> None:
    bench_data("lewel_b_tiny", str(folder), 4, 3, 1, tmp_path / "bench.json")
    names = [result["name"] for result in json.loads((tmp_path / "bench.json").read_text())["results"]]
    assert names[1] == compare.CONTROL and len(names) == 7
    assert "images/s" in capsys.readouterr().out


def test_contenders_do_the_same_work(folder: Path) -> None:
    """Two normalised views of all images, of the recipe's size, from each that makes whole views."""
    chosen = recipes.get("lewel_b_tiny").data
    with data.images_of(str(folder), 4) as images:
        for contender in data._contenders(images, chosen, 4):
            if (
                contender.name.startswith(("one file", "pillow", "tensor", "resident"))
                and "compiled" not in contender.name
            ):
                made = contender.work()
                pixels = [getattr(view, "pixels", view) for view in getattr(made, "views", made)]
                assert [tuple(view.shape) for view in pixels] == [(4, 3, 64, 64)] * 2
                assert all(-3 < float(view.mean()) < 3 for view in pixels)


def test_what_the_images_do_not_allow_is_left_out(folder: Path) -> None:
    chosen = recipes.get("lewel_b_tiny").data
    pixels = Pixels("memory", np.zeros((4, 32, 32, 3), np.uint8))
    assert next(each.name for each in data._contenders(pixels, chosen, 4)) == "pillow"
    Image.new("RGB", (40, 31)).save(folder / "3.jpg")
    with data.images_of(str(folder), 4) as images:
        names = {each.name for each in data._contenders(images, chosen, 4)}
        assert "one file: Pillow by torchvision" in names and "resident" not in names


def test_unreadable_images_are_left_out_and_counted(folder: Path, uncompiled, capsys) -> None:
    (folder / "2.jpg").write_bytes(b"not an image")
    with data.images_of(str(folder), 3) as images:
        assert [Path(images.path(index)).stem for index in range(3)] == ["0", "1", "3"]
    with data.images_of(str(folder), 2) as images:
        assert [Path(images.path(index)).stem for index in range(2)] == ["0", "3"]
    assert "1 images cannot be read" in capsys.readouterr().out
    bench_data("lewel_b_tiny", str(folder), 3, 3, 1, None)
    with pytest.raises(UserError, match=r"--images 4.*has 3 and 1 that cannot be read"):
        bench_data("lewel_b_tiny", str(folder), 4, 3, 1, None)


def test_made_photographs_are_of_the_usual_size() -> None:
    assert data._photograph(0).size == (500, 375)
    assert not np.array_equal(np.asarray(data._photograph(0)), np.asarray(data._photograph(1)))


def test_mistakes_are_told(folder: Path) -> None:
    with pytest.raises(UserError, match=r"--images 9.*has 4"):
        bench_data("lewel_b_tiny", str(folder), 9, 3, 1, None)
    with pytest.raises(UserError, match="--threads 0"):
        bench_data("lewel_b_tiny", str(folder), 4, 3, 0, None)


@pytest.mark.slow
def test_workers_that_are_started_anew_can_read_for_the_yardstick(folder: Path) -> None:
    images = open_images(folder)
    assert isinstance(images, Files)
    loader = DataLoader(
        one_file.TwoViews(images, 32),
        4,
        num_workers=1,
        worker_init_fn=one_file.seed_worker,
        multiprocessing_context="spawn",
    )
    assert [tuple(view.shape) for view in next(iter(loader))] == [(4, 3, 32, 32)] * 2


def test_the_yardstick_is_the_example() -> None:
    assert "CVPR 2022" in (one_file.load().__doc__ or "")
