"""Several runs side by side: what the table says is what the records hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lewel import recipes
from lewel.errors import UserError
from lewel.recipes import config_file
from lewel.visualize import compare, style


def a_run(folder: Path, batch: int, rows: list[dict[str, object]]) -> Path:
    recipe = recipes.get("lewel_m_tiny")
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, batch_size=batch))
    folder.mkdir()
    (folder / "config.yaml").write_text(config_file.to_yaml(recipe))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    trained = [{"step": step, "loss": 6.0 / step, "images_per_s": speed} for step, speed in ((60, 100.0), (120, 50.0))]
    knn = [{"step": 0, "knn/top1": 13.0}, {"step": 60, "knn/top1": 20.5}, {"step": 120, "knn/top1": 20.0}]
    full = a_run(tmp_path / "full", 100, [knn[0], trained[0], knn[1], trained[1], knn[2]])
    return [compare.read(full), compare.read(a_run(tmp_path / "bare", 50, [{"step": 60, "loss": None}]))]


def test_the_table_has_the_record_s_numbers(runs) -> None:
    found = compare.table(runs)
    columns = {str(column.header): list(column.cells) for column in found.columns}
    assert columns["images seen"] == ["12000", "0"]
    assert columns["minutes"] == ["3.0", "0.0"]  # 6,000 images at 100 a second, then 6,000 at 50
    assert [columns[name][0] for name in ("kNN before", "after", "best")] == ["13.00", "20.00", "20.50"]
    assert [columns[name][1] for name in ("kNN before", "after", "best")] == ["-", "-", "-"]


def test_the_table_has_what_one_of_the_runs_measured(tmp_path) -> None:
    both = [{"step": step, "knn/top1": 10.0 + step, "linear-fast/top1": 30.0 + step} for step in (0, 2, 1)]
    one = [{"step": step, "linear-fast/top1": 20.0} for step in (0, 1)]
    found = compare.table([compare.read(a_run(tmp_path / name, 50, rows)) for name, rows in (("a", both), ("b", one))])
    assert [(str(column.header), *column.cells) for column in found.columns[5:]] == [
        ("kNN before", "10.00", "-"),
        ("after", "11.00", "-"),
        ("best", "12.00", "-"),
        ("linear-fast before", "30.00", "20.00"),
        ("after", "31.00", "20.00"),
        ("best", "32.00", "20.00"),
    ]
    bare = compare.read(a_run(tmp_path / "c", 50, [{"step": 60, "loss": 1.0}]))
    assert len(compare.table([bare]).columns) == 5


def test_runs_of_unequal_batch_share_the_axis_of_images(runs) -> None:
    assert runs[0].series("loss") == ([6.0, 12.0], [0.1, 0.05])
    assert runs[1].series("loss") == ([], [])  # null is what was not finite


def test_the_picture(runs, tmp_path) -> None:
    style.save(compare.figure(runs), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 24) or []) > 10


def test_what_cannot_be_compared(runs, tmp_path) -> None:
    with pytest.raises(UserError, match="is no run with records"):
        compare.read(tmp_path)
    with pytest.raises(UserError, match="5 runs: 4 at most"):
        compare.figure([runs[0]] * 5)
