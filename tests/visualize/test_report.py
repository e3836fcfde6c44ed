"""The page: what it says, and that nothing in a run's files can become markup."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel import recipes
from lewel.recipes import config_file
from lewel.visualize import report
from pages import Tags

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def rows(count: int = 30) -> list[dict]:
    found: list[dict] = [{"step": 0, "epoch": 0.0, "knn/top1": 13.0, "linear-fast/top1": 20.0}]
    for step in range(1, count + 1):
        row = {"step": step, "loss": 4 / step, "lr": 0.1, "gradient_norm": 1.0, "loss/global": 3 / step}
        row |= {"loss/aligned": 5 / step, "spread/global": 0.9, "rankme": 20.0 + step, "entropy/aligned": 0.999}
        row |= {"differ/aligned": 0.5, "target_distance": 0.01, "images_per_s": 400.0, "data_wait": 0.02}
        found.append(row | {"verdict": "healthy"})
    return [*found, {"step": count, "epoch": 1.0, "knn/top1": 17.5, "linear-fast/top1": 31.0, "evaluate_s": 2.5}]


def run_directory(path: Path, content: list[dict]) -> Path:
    path.mkdir(exist_ok=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (path / "config.yaml").write_text("# lewel pretrain\n" + config_file.to_yaml(recipes.get("lewel_b_tiny")))
    return path


def test_the_page_says_how_it_went(tmp_path: Path) -> None:
    run = run_directory(tmp_path / "run", rows())
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(run / "maps.png")
    assert report.write(run, {"probe": "1 before, 2 after"}) == run / "report.html"
    page = Tags((run / "report.html").read_text())
    expected = ("lewel_b_tiny", "healthy", "13.00 before, 17.50 after (+4.50)", "1 before, 2 after", "resnet18")
    for words in (*expected, "linear-fast top-1", "+11.0 points since 20.0 %", "20.00 before, 31.00 after (+11.00)"):
        assert words in page.text
    for measure in report.MEASURES:
        assert measure.title in page.text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert [base64.b64decode(source.split(",")[1]) for source in images if source] == [(run / "maps.png").read_bytes()]


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = Tags(report.page(run_directory(tmp_path / "run", rows()), {}))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"src", "href", "xlink:href"} & set(attributes) or (attributes["src"] or "").startswith("data:")


def test_nothing_becomes_markup(tmp_path: Path) -> None:
    """Names of directories, classes, terms and settings may hold anything."""
    content = [row | {f"loss/{EVIL}": 1.0, "verdict": EVIL, f"knn/{EVIL}": 3.0} for row in rows(3)]
    run = run_directory(tmp_path / "<img src=x onerror=alert(1)>", content)
    (run / "config.yaml").write_text(f"# {EVIL}\n" + json.dumps({"name": EVIL, EVIL: {EVIL: [EVIL]}}))
    page = Tags(report.page(run, {EVIL: EVIL}))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 8


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    """An empty run directory, a damaged config and rows of nulls still make a page."""
    assert "no steps recorded" in report.page(tmp_path, {})
    (tmp_path / "config.yaml").write_text("a: [1,")
    content = [{"step": 1, "loss": None, "lr": 0.1, "knn/top1": None}, {"loss": 1.0}, {"step": 2, "loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    assert "not finite" in report.page(tmp_path, {})


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    report.write(tmp_path, {"folder": "caf\udce9"})
    assert "caf\\xe9" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": 1.5, "c": [1, 2]}}, [("a.b", "1.5"), ("a.c", "1, 2")]),
        ({"a": [{"b": None}, {"b": True}]}, [("a[0].b", "none"), ("a[1].b", "True")]),
        ({"a": 4 / 3, "b": {}}, [("a", "1.33333"), ("b", "{}")]),
    ],
)
def test_flat(value: dict, expected: list[tuple[str, str]]) -> None:
    assert report.flat(value) == expected
