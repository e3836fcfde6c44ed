"""A run goes on with the images that it began with, or says which have changed; its own files may be anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from command import lewel
from lewel.data import scenes
from lewel.data.images import open_images

SMALL = ["--encoder", "test_resnet", "--batch-size", "8", "--epochs", "1", "--hidden", "16", "--dim", "8", "--workers"]
SMALL += ["0", "--device", "cpu", "--precision", "fp32", "--evaluate", "none", "--warmup-epochs", "0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=8, val=2, size=32)


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "a"
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", run, *SMALL, "--check-images", "all") == 0
    return run


def again(photos: Path, run: Path, *flags: str) -> int:
    return lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", run, *SMALL, *flags)


def test_images_with_other_contents_are_refused_and_can_be_allowed(photos, finished, tmp_path, capsys) -> None:
    changed, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, changed)
    shutil.copytree(finished, run)
    assert again(changed, run, "--check-images", "all") == 0  # the same bytes elsewhere
    images = open_images(changed, "train")
    first, second = (Path(images.file(index)) for index in range(2))
    first.write_bytes(second.read_bytes())
    capsys.readouterr()
    assert again(changed, run) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert len(said) == 1 and first.name in said[0] and "--change-images goes on with them" in said[0]
    assert again(changed, run, "--change-images") == 0
    assert "--change-images: 1 of the 8 images" in (run / "train.log").read_text()


@pytest.mark.parametrize(
    ("flags", "said"), [(("--seed", "1"), "seed 0 -> 1"), (("--accumulate", "2"), "accumulate 1 -> 2")]
)
def test_a_run_does_not_go_on_in_another_order_or_with_other_parts(photos, finished, tmp_path, flags, said, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert again(photos, run, *flags) == 2
    assert f"holds a run of another recipe ({said}); give the same" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "train.log", "skipped.jsonl"])
def test_a_fifo_among_the_runs_files_is_refused_and_not_waited_for(photos, finished, tmp_path, name, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert again(photos, run) == 2
    assert f"{name} is not a regular file; remove it, or give another --out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"name: \xff\xfe", b"[1, 2]", b"a: &a [*a]", b"2026-13-45", b"\x00", b"{" * 5000])
def test_a_config_that_is_none_is_one_line(photos, tmp_path, content, capsys) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(content)
    assert again(photos, tmp_path / "run") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert len(said) == 1 and "config.yaml" in said[0]
