"""`lewel bench executors`: the operations are Pillow's, the crop is by a level, and differences are counted right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lewel import recipes
from lewel.bench import executors
from lewel.bench.commands import bench_executors
from lewel.data import executor
from lewel.data.executor import Executor
from lewel.data.images import open_images
from lewel.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Smooth pictures; nothing is compiled, which takes half a minute."""
    monkeypatch.setattr(executor, "choose", lambda *_: Executor("tensor"))
    (tmp_path / "photos").mkdir()
    for number in range(40):
        small = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC)
        large.save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("recipe", ["lewel_b_tiny", "moco_v2_tiny"])
def test_operations_are_the_same_and_views_are_near(folder: Path, recipe: str) -> None:
    found = {each.what: each for each in executors.measure(open_images(folder), recipes.get(recipe).data)}
    assert set(found) == {*executors.ALONE, "view 1", "view 2"}
    for name in set(executors.ALONE) - {"crop"}:
        assert found[name].images == 40 and found[name].largest == 0, name
    assert found["crop"].mean < 0.5 and found["crop"].largest <= 1
    for view in ("view 1", "view 2"):
        assert 0 < found[view].mean < 2 and found[view].share < 1


def test_a_histogram_is_summed_up() -> None:
    histogram = torch.zeros(256, dtype=torch.int64)
    histogram[0], histogram[1], histogram[7] = 9000, 995, 5
    summary = executors._summary("x", 3, histogram)
    assert summary.mean == pytest.approx(1030 / 10000)
    assert (summary.worst, summary.largest) == (1, 7) and summary.share == pytest.approx(0.1)
    histogram[7] = 50
    assert executors._summary("x", 3, histogram).worst == 7


def test_command(folder: Path, tmp_path: Path, capsys) -> None:
    bench_executors("lewel_b_tiny", str(folder), 8, tmp_path / "bench.json")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["results"][0]["what"] == "crop" and content["settings"]["images"] == 8
    assert "99.9 %" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--images 41.*has 40"):
        bench_executors("lewel_b_tiny", str(folder), 41, None)
