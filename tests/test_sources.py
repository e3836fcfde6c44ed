"""A run on a folder, on its index and on its shards: the same numbers, and from one to the other."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from command import lewel
from lewel.data import scenes

SMALL = ["--encoder", "test_resnet", "--batch-size", "16", "--epochs", "2", "--hidden", "32", "--dim", "16"]
SMALL += ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--log-every", "2", "--warmup-epochs", "0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=40, val=20, size=64)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A finished run on the folder."""
    run = tmp_path_factory.mktemp("runs") / "lewel_b"
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", run, *SMALL) == 0
    return run


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    """The photographs as an index, as shards, and as the URL of shards."""
    made = tmp_path_factory.mktemp("prepared")
    assert lewel("data", "index", photos, "--out", made / "photos.safetensors") == 0
    assert lewel("data", "pack", made / "photos.safetensors", "--out", made / "shards", "--shard-size", "4e4") == 0
    assert len(list((made / "shards").glob("train-*.tar"))) > 1
    return {"index": made / "photos.safetensors", "shards": made / "shards", "url": f"file://{made}/shards"}


@pytest.mark.parametrize("source", ["index", "shards", "url"])
def test_a_run_is_the_same_on_a_folder_its_index_and_its_shards(source, prepared, finished, photos, tmp_path) -> None:
    run = tmp_path / "run"
    options = ("--out", run, *SMALL)
    assert lewel("pretrain", "lewel_b_tiny", "--data", prepared[source], *options) == 0
    assert losses(run) == losses(finished) and len(losses(run)) >= 2
    expected = (finished / "encoder.safetensors").read_bytes()
    assert (run / "encoder.safetensors").read_bytes() == expected
    for data in (photos, prepared["index"], prepared["shards"]):  # the same run to each of them
        assert lewel("pretrain", "lewel_b_tiny", "--data", data, *options) == 0
    assert (run / "encoder.safetensors").read_bytes() == expected


def losses(run) -> list[tuple[float, ...]]:
    """Loss and kNN of every record."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("loss"), row.get("knn/top1")) for row in rows]


def test_a_run_goes_on_from_a_folder_to_shards(prepared, finished, photos, tmp_path) -> None:
    run = tmp_path / "run"
    options = ("pretrain", "lewel_b_tiny", "--out", run, *SMALL, "--save-every", "2")
    assert lewel(*options, "--data", photos) == 0
    last = sorted((run / "checkpoints").iterdir())[-1]
    assert last.name == "step-00000004"
    shutil.rmtree(last)
    assert lewel(*options, "--data", prepared["shards"]) == 0
    assert last.is_dir() and losses(run)[-1] == losses(finished)[-1]
    assert (run / "encoder.safetensors").read_bytes() == (finished / "encoder.safetensors").read_bytes()


def test_every_command_reads_an_index_and_shards(prepared, finished, tmp_path) -> None:
    for data in prepared.values():
        assert lewel("maps", "--run", finished, "--data", data, "--out", tmp_path / "maps.png") == 0
        assert lewel("views", "lewel_b_tiny", "--data", data, "--out", tmp_path / "v.png", "--images", "3") == 0


def test_a_shard_that_is_cut_is_one_line(prepared, tmp_path, capsys) -> None:
    shutil.copytree(prepared["shards"], tmp_path / "shards")
    os.truncate(tmp_path / "shards" / "train-000001.tar", 20000)
    command = ("pretrain", "lewel_b_tiny", "--data", tmp_path / "shards", "--out", tmp_path / "run", *SMALL)
    assert lewel(*command) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert re.search(r"shards/train-000001\.tar has 20000 bytes, not \d+; copy it again", said)
    assert not (tmp_path / "run").exists()


def test_a_command_of_two_words_says_which_there_are(capsys) -> None:
    assert lewel("data") == lewel("data", "--help") == 0
    assert capsys.readouterr().out.count("data index") == 2
    assert lewel("data", "pakc") == 2
    assert capsys.readouterr().err == "lewel: there is no command 'data pakc'; did you mean data pack?\n"
