"""`lewel bench step|train|memory|cost`, small, from flags to tables and files. Each contender is a process: slow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lewel import cli, plan
from lewel.bench import apart, commands, compare, cost
from lewel.config import Bench, Timing
from lewel.errors import UserError

SMALL = plan.Overrides(encoder="resnet18", image_size=64, batch_size=4, hidden=32, dim=16)
OPTIONS = Timing(device="cpu", precision="bf16", rounds=3, threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path / "photos"


def figures(path: Path) -> dict[str, dict]:
    return {result["name"]: result for result in json.loads(path.read_text())["results"]}


@pytest.mark.slow
def test_step(tmp_path: Path, capsys) -> None:
    commands.bench_step(replace(OPTIONS, json=tmp_path / "step.json"), SMALL, switches=False)
    found = figures(tmp_path / "step.json")
    assert list(found)[:2] == ["one file, fp32", compare.CONTROL] and len(found) == 5
    for result in found.values():
        assert 0 < result["facts"]["flops_share"] < result["facts"]["roofline_share"] <= 1
    assert "roofline" in capsys.readouterr().out


@pytest.mark.slow
def test_train(folder: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, json=tmp_path / "train.json")
    commands.bench_train(options, SMALL, str(folder), 1, ("pillow", "tensor"))
    found = figures(tmp_path / "train.json")
    assert list(found) == [
        "one file, fp32", compare.CONTROL, "lewel, bf16, pillow", "lewel, bf16, tensor", "lewel, bf16, views ready"
    ]  # fmt: skip
    for name, result in found.items():
        assert (result["facts"]["data_s"] < 1e-3) == ("ready" in name)


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    options = Bench(device="cpu", precision="bf16", threads=1, json=tmp_path / "memory.json")
    commands.bench_memory(options, SMALL, switches=False)
    for result in figures(tmp_path / "memory.json").values():
        assert list(result["bytes"]) == ["2", "4"]
        assert result["bytes_fixed"] + 4 * result["bytes_an_image"] == pytest.approx(result["bytes"]["4"])


@pytest.mark.slow
def test_cost(tmp_path: Path) -> None:
    options = replace(OPTIONS, precision="fp32", json=tmp_path / "cost.json")
    commands.bench_cost(options, replace(SMALL, dim=None), None, None, (64,), ())
    found = figures(tmp_path / "cost.json")
    assert list(found) == [
        "moco_v2", "moco_v2, again", "lewel_m", "lewel_m, d 64", "byol", "byol, again", "lewel_b", "lewel_b, d 64"
    ]  # fmt: skip
    assert found["byol"]["flops_ratio"] == 1 < found["lewel_b, d 64"]["flops_ratio"] < found["lewel_b"]["flops_ratio"]


def test_cost_compares_a_setting_that_all_methods_have() -> None:
    assert cost.suffix("lewel_b_in1k_100ep") == cost.suffix("moco_v2_in1k_100ep") == "in1k_100ep"
    with pytest.raises(UserError, match="--recipe lewel_m_rand_in100"):
        cost.suffix("lewel_m_rand_in100")


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="--threads 0"):
        commands.bench_step(replace(OPTIONS, threads=0), SMALL, False)
    with pytest.raises(UserError, match="--batch-size 2: 4 or more"):
        commands.bench_memory(Bench(device="cpu"), replace(SMALL, batch_size=2), False)


def test_numbers_are_checked_before_anything_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "Apart", None)
    for command in (
        lambda options: commands.bench_step(options, SMALL, False),
        lambda options: commands.bench_train(options, SMALL, str(folder), 0, ("pillow",)),
        lambda options: commands.bench_cost(options, SMALL, str(folder), 0, (), ()),
    ):
        with pytest.raises(UserError, match="--rounds 2"):
            command(replace(OPTIONS, rounds=2))
    with pytest.raises(UserError, match="--workers -1: must be 0 or more"):
        commands.bench_train(OPTIONS, SMALL, str(folder), -1, ("pillow",))
    with pytest.raises(UserError, match="--workers -1: must be 0 or more"):
        commands.bench_cost(OPTIONS, SMALL, str(folder), -1, (), ())
    with pytest.raises(UserError, match=r"--workers 2: .*--data"):
        commands.bench_cost(OPTIONS, SMALL, None, 2, (), ())


def test_only_what_is_timed_has_rounds_and_steps_and_none_has_fp16(capsys) -> None:
    for command, timed in (("step", True), ("train", True), ("cost", True), ("memory", False)):
        with pytest.raises(SystemExit):
            cli._run(["bench", command, "--help"])
        told = capsys.readouterr().out
        assert ("--rounds" in told) is ("--steps" in told) is timed
        assert "bf16" in told and "fp16" not in told


def test_a_batch_larger_than_the_folder_is_told_at_once(folder: Path) -> None:
    large = replace(SMALL, batch_size=9)
    with pytest.raises(UserError, match="--batch-size 9 for 8 images"):
        commands.bench_train(OPTIONS, large, str(folder), 0, ("pillow",))
    with pytest.raises(UserError, match="--batch-size 9 for 8 images"):
        commands.bench_cost(OPTIONS, large, str(folder), 0, (), ())
