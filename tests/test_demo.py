"""`lewel demo` end to end, with few scenes: what it writes, what it prints, and that it is not repeated."""

from __future__ import annotations

import json

import pytest

from lewel import demo
from lewel.errors import UserError


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRAIN", 64)  # one step of the recipe's batch an epoch
        patch.setattr(demo, "VAL", 20)
        demo.demo(out, "lewel_m", seed=0)
        yield out


def test_it_leaves_images_a_run_maps_and_a_page(out) -> None:
    run = out / "lewel_m"
    assert len(list((out / "images" / "train").rglob("*.jpg"))) == 64
    assert (run / "maps.png").stat().st_size > 10_000
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "kNN, top-1 %" in page and "linear-fast, top-1 %" in page and "before" in page


def test_a_finished_demo_is_not_trained_again(out, capsys) -> None:
    rows = (out / "lewel_m" / "metrics.jsonl").read_text()
    weights = (out / "lewel_m" / "encoder.safetensors").read_bytes()
    demo.demo(out, "lewel_m", seed=0)
    assert (out / "lewel_m" / "metrics.jsonl").read_text() == rows
    assert (out / "lewel_m" / "encoder.safetensors").read_bytes() == weights
    assert max(json.loads(line)["step"] for line in rows.splitlines()) == 8
    printed = capsys.readouterr().out
    assert "untrained" in printed and "pretrained" in printed and "report.html" in printed


def test_an_unknown_method_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="--method lewel_x: allowed are moco_v2, byol, lewel_m, lewel_b"):
        demo.demo(tmp_path / "demo", "lewel_x", seed=0)
    assert not (tmp_path / "demo").exists()
