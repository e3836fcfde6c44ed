"""`lewel evaluate`, as a user types it: what it leaves, and what it does not do twice."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import little
import numpy as np
import pytest
import timm
from little import HERE, KNN, SHORT, evaluate, read

from command import lewel
from lewel.engine import precision
from lewel.evaluate import evaluation, features, knn, linear_fast, predictions, training
from lewel.evaluate.kinds import KINDS
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.tasks import Knn


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what it leaves


def test_what_decided_the_numbers_stands_beside_them(weights: Path, images: Path, out: Path) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    found = read(out / "results.json")
    assert found["protocol"]["name"] == KNN and found["protocol"]["k"] == 20 and found["protocol"]["image_size"] == 32
    assert found["weights"]["source"] == str(weights) and found["weights"]["architecture"] == "test_resnet"
    assert found["data"]["train"]["images"] == 12 and found["data"]["val"]["images"] == 6
    digests = [found["protocol"]["digest"], found["weights"]["digest"], found["data"]["train"]["digest"]]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert found["seeds"][0]["weights"] == found["weights"]["digest"]
    assert list(found["metrics"]["per_class"]) == list(little.CLASSES)
    assert found["metrics"]["top1"] == pytest.approx(found["metrics"]["mean_per_class"])
    assert {"torch", "timm", "lewel"} <= found["versions"].keys()
    assert all((out / name).is_file() for name in ("table.md", "table.csv", "table.json", "page.html"))


def test_the_same_command_again_does_nothing_anew(
    weights: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate("linear-byol", weights, images, out, *SHORT) == 0
    before = snapshot(out)
    monkeypatch.setitem(KINDS, Knn, KINDS[Knn]._replace(evaluate=None))
    assert evaluate("linear-byol", weights, images, out, *SHORT) == 0
    assert snapshot(out) == before
    assert not any("checkpoint" in name or "best" in name for name in before)


def test_the_place_of_the_data_is_no_part_of_it(weights: Path, images: Path, out: Path, tmp_path: Path) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    moved = shutil.copytree(images, tmp_path / "moved")
    assert evaluate(KNN, weights, moved, out) == 0


def test_several_weights_are_a_folder_each_and_one_table(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, (weights, "random:test_resnet"), images, out, "--image-size", 32) == 0
    rows = read(out / "table.json")
    assert [row["weights"] for row in rows] == ["mine", "random-test_resnet"]
    for row in rows:
        found = read(out / row["weights"] / "results.json")
        assert found["metrics"]["top1"] == row["top1"] and found["weights"]["digest"] == row["weights_digest"]
    assert not (out / "results.json").exists()
    shown = capsys.readouterr().out
    assert "mine" in shown and "random-test_resnet" in shown and "top-1" in shown


def test_seeds_give_mean_and_spread(weights: Path, images: Path, out: Path, tmp_path: Path) -> None:
    given = ("--fraction", 0.5, "--epochs", 4, "--batch-size", 4, "--lr", 0.5)
    assert evaluate("semi", weights, images, out, *given, "--seeds", 2, "--seed", 3) == 0
    found = read(out / "results.json")
    top1 = [seed["metrics"]["top1"] for seed in found["seeds"]]
    assert [seed["seed"] for seed in found["seeds"]] == [3, 4]
    assert found["metrics"]["top1"] == statistics.mean(top1) and found["std"]["top1"] == statistics.stdev(top1)
    assert len({seed["data"] for seed in found["seeds"]}) == 2  # other images of train for each seed
    assert {seed["weights"] for seed in found["seeds"]} == {found["weights"]["digest"]}
    assert evaluate("semi", weights, images, tmp_path / "alone", *given, "--seed", 4) == 0
    assert read(tmp_path / "alone" / "results.json")["metrics"] == found["seeds"][1]["metrics"]


def test_untrained_weights_are_others_with_each_seed(images: Path, out: Path) -> None:
    assert evaluate(KNN, "random:test_resnet", images, out, "--image-size", 32, "--seeds", 3) == 0
    digests = [seed["weights"] for seed in read(out / "results.json")["seeds"]]
    assert len(set(digests)) == 3


def test_more_seeds_go_on_with_the_first(weights: Path, images: Path, out: Path, monkeypatch: Any) -> None:
    seeds = []
    kind = KINDS[Knn]
    monkeypatch.setitem(KINDS, Knn, kind._replace(evaluate=lambda job: seeds.append(job.seed) or kind.evaluate(job)))
    source = "random:test_resnet"
    assert evaluate(KNN, source, images, out, "--image-size", 32) == 0
    assert evaluate(KNN, source, images, out, "--image-size", 32, "--seeds", 3) == 0
    assert seeds == [0, 1, 2]


def test_what_nothing_is_drawn_for_is_done_once(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, weights, images, out, "--seeds", 3) == 0
    found = read(out / "results.json")
    assert len(found["seeds"]) == 1 and found["std"] == {} and found["deterministic"]
    shown = capsys.readouterr().out
    assert "deterministic" in shown and "±" not in shown


def test_the_split_is_drawn_anew_with_each_seed(weights: Path, images: Path, out: Path, tmp_path: Path) -> None:
    given = ("--split", "auto", "--val-share", 0.5)
    assert evaluate(KNN, weights, images / "train", out, *given, "--seeds", 2) == 0
    found = read(out / "results.json")
    assert len({seed["data"] for seed in found["seeds"]}) == 2 and not found["deterministic"]
    assert evaluate(KNN, weights, images / "train", tmp_path / "alone", *given, "--seed", 1) == 0
    alone = read(tmp_path / "alone" / "results.json")["seeds"][0]
    assert all(alone[part] == found["seeds"][1][part] for part in ("data", "metrics"))


def test_few_images_and_all_files_are_said(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("linear-moco", (weights, weights), images, out, "--epochs", 1) == 0
    shown = re.sub(r"\s", "", capsys.readouterr().out)  # as if no line were too long
    told = "batch 4,096 is more than the 12 images: 1 step an epoch."
    assert told in (out / "table.md").read_text() and told in (out / "page.html").read_text()
    labels = [row["weights"] for row in read(out / "table.json")]
    assert ",".join(labels) + ":batch4,096ismorethan" in shown
    training = read(out / labels[0] / "results.json")["seeds"][0]["training"]
    assert training == {"images": 12, "batch_size": 12, "steps_per_epoch": 1}
    listed = shown.split(":")[-1].split(",")
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    written = {name for name in written if "seed-0" not in name and name != ".lock"}
    assert sorted(listed) == sorted(written)


def test_an_image_that_cannot_be_read_is_named_for_every_seed(
    weights: Path, images: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_fast, "MOST_STEPS", 5)
    broken = shutil.copytree(images, tmp_path / "broken")
    (broken / "val" / "ant" / "000.png").write_bytes(b"no image")
    assert evaluate("linear-fast", weights, broken, out, "--seeds", 2) == 0
    assert "1 of 6 images of val left out" in (out / "table.md").read_text()
    for seed in read(out / "results.json")["seeds"]:
        assert [Path(skip["path"]).name for skip in seed["skipped"]] == ["000.png"]
        assert seed["images_of_val"] == 5
        found = predictions.read(out, seed["seed"])
        assert found is not None and len(found["images"]) == 5
        assert set(seed["metrics"]) == {"top1", "mean_per_class", "per_class", "chosen", "decays"}


# -- numbers that flags change


def test_k_and_temperature_reach_the_vote(
    weights: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, votes = [], knn.votes
    monkeypatch.setattr(knn, "votes", lambda *a: seen.append(a[3:5]) or votes(*a))
    assert evaluate(KNN, weights, images, out, "--k", 3, "--temperature", 0.5) == 0
    assert seen == [(3, 0.5)]
    assert read(out / "results.json")["protocol"]["name"] == "knn-k20-t0.07[k=3,temperature=0.5]"


@pytest.mark.parametrize("task", [KNN, "linear-byol", "finetune"])
def test_the_image_size_reaches_the_network(
    task: str, weights: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, forward = set(), timm.models.resnet.ResNet.forward_features
    opened = evaluation.open_subject

    def watched(*arguments: Any) -> Any:
        subject = opened(*arguments)
        subject.data(48)
        monkeypatch.setattr(
            timm.models.resnet.ResNet,
            "forward_features",
            lambda net, x: sizes.add(tuple(x.shape[2:])) or forward(net, x),
        )
        return subject

    monkeypatch.setattr(evaluation, "open_subject", watched)
    more = () if task == KNN else SHORT
    assert evaluate(task, weights, images, out, *more, "--image-size", 48) == 0
    assert sizes == {(48, 48)}
    assert read(out / "results.json")["protocol"]["name"].endswith("image_size=48]")


def test_a_large_batch_is_encoded_in_parts(weights: Path, images: Path, out: Path, monkeypatch: Any) -> None:
    """linear-moco's 4096 images at once would take tens of gigabytes for one map."""
    monkeypatch.setattr(features, "BATCH", 5)
    largest, forward = [], timm.models.resnet.ResNet.forward_features
    monkeypatch.setattr(
        timm.models.resnet.ResNet, "forward_features", lambda net, x: largest.append(len(x)) or forward(net, x)
    )
    assert evaluate("linear-moco", weights, images, out, "--epochs", 1) == 0
    assert max(largest) == 5


def test_mixed_precision_without_bf16_is_fp32(
    weights: Path, images: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fast, name in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(precision, "hardware_bf16", lambda _, fast=fast: fast)
        assert evaluate("faces-expression", weights, images, tmp_path / name, *SHORT) == 0
        found = read(tmp_path / name / "results.json")
        assert found["seeds"][0]["precision"] == name and found["protocol"]["precision"] == "mixed"


def test_the_list_has_a_line_a_task(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert lewel("evaluate", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in PROTOCOLS:
        assert sum(line.split()[0] == name for line in lines) == 1
    assert lewel("evaluate") == 0 and capsys.readouterr().out.splitlines() == lines


# -- killed


def metrics(out: Path) -> Any:
    return read(out / "results.json")["metrics"]


def test_asked_to_stop_it_says_so_and_goes_on(
    weights: Path, images: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    given = ("linear-byol", weights, images)
    assert evaluate(*given, tmp_path / "unbroken", *SHORT) == 0
    with monkeypatch.context() as patch:
        measured = []
        show = training._Watch.__call__
        patch.setattr(
            training._Watch,
            "__call__",
            lambda self, step: show(self, step) or (step.number == 2 and os.kill(os.getpid(), signal.SIGTERM)),
        )
        patch.setattr(training._Evaluate, "__call__", lambda self, step: measured.append(step))
        capsys.readouterr()
        assert evaluate(*given, out, *SHORT) == 75
    assert "lewel: stopped by SIGTERM at step 3 of 4, and saved; the same command goes on" in capsys.readouterr().err
    assert not list(out.rglob("results.json")) and [step.number for step in measured] == [1, 2, 3]
    assert evaluate(*given, out, *SHORT) == 0
    assert metrics(out) == metrics(tmp_path / "unbroken")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("linear-byol", ("--epochs", 100, "--batch-size", 6)),
        ("semi-10", ("--epochs", 70, "--batch-size", 4, "--seeds", 2)),
    ],
)
def test_killed_at_random_moments_and_started_again_is_unbroken(
    task: str, flags: Any, weights: Path, tmp_path: Path
) -> None:
    images = little.folder(tmp_path / "images", train=60, val=12)
    command = [sys.executable, "-m", "lewel", "evaluate", task, "--weights", weights, "--data", images, *HERE, *flags]
    words, environment = list(map(str, command)), os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for kill in range(4):
        process = subprocess.Popen([*words, "--out", str(tmp_path / "killed")], env=environment, stderr=-3, stdout=-3)
        wanted = rows(tmp_path / "killed") + np.random.default_rng().integers(1, 12)
        while process.poll() is None and (kill == 3 or rows(tmp_path / "killed") < wanted):
            time.sleep(0.01)
        assert (process.poll() is None) == (kill < 3)
        process.kill()
        assert process.wait() == (-signal.SIGKILL if kill < 3 else 0)
    subprocess.run([*words, "--out", tmp_path / "unbroken"], env=environment, check=True, capture_output=True)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "unbroken")
    for job in (tmp_path / "unbroken").glob("seed-*"):
        here = tmp_path / "killed" / job.name
        with np.load(job / "predictions.npz") as ours, np.load(here / "predictions.npz") as theirs:
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def rows(out: Path) -> int:
    """Lines in the records of all seeds."""
    return sum(path.read_text().count("\n") for path in out.glob("seed-*/metrics.jsonl"))
