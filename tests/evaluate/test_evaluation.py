"""`lewel evaluate`, as a user types it: what it leaves, what it does not do twice, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import little
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from command import lewel
from lewel.engine import precision
from lewel.evaluate import evaluation, features, knn

KNN = "knn-k20-t0.07"
SHORT = ("--epochs", 2, "--batch-size", 6)
HERE = ("--device", "cpu", "--workers", 0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return little.encoder_file(tmp_path_factory.mktemp("weights") / "mine.safetensors")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return little.folder(tmp_path_factory.mktemp("images"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def evaluate(task: str, weights: Any, images: Any, out: Path, *more: Any) -> int:
    each = weights if isinstance(weights, tuple) else (weights,)
    return lewel("evaluate", task, "--weights", *each, "--data", images, "--out", out, *HERE, *more)


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


# -- what it leaves


def test_what_decided_the_numbers_stands_beside_them(weights: Path, images: Path, out: Path) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    found = read(out / "results.json")
    assert found["protocol"]["name"] == KNN and found["protocol"]["k"] == 20 and found["protocol"]["image_size"] == 32
    assert found["weights"]["source"] == str(weights) and found["weights"]["architecture"] == "resnet10t"
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
    monkeypatch.setattr(evaluation, "TASKS", {})
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
    assert evaluate(KNN, (weights, "random:resnet10t"), images, out, "--image-size", 32) == 0
    rows = read(out / "table.json")
    assert [row["weights"] for row in rows] == ["mine", "random-resnet10t"]
    for row in rows:
        found = read(out / row["weights"] / "results.json")
        assert found["metrics"]["top1"] == row["top1"] and found["weights"]["digest"] == row["weights_digest"]
    assert not (out / "results.json").exists()
    shown = capsys.readouterr().out
    assert "mine" in shown and "random-resnet10t" in shown and "top-1" in shown


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
    assert evaluate(KNN, "random:resnet10t", images, out, "--image-size", 32, "--seeds", 3) == 0
    digests = [seed["weights"] for seed in read(out / "results.json")["seeds"]]
    assert len(set(digests)) == 3


def test_more_seeds_go_on_with_the_first(weights: Path, images: Path, out: Path, monkeypatch: Any) -> None:
    seeds = []
    task = evaluation.TASKS[evaluation.protocols.Knn]
    monkeypatch.setitem(evaluation.TASKS, evaluation.protocols.Knn, lambda job: seeds.append(job.seed) or task(job))
    assert evaluate(KNN, weights, images, out) == 0
    assert evaluate(KNN, weights, images, out, "--seeds", 3) == 0
    assert seeds == [0, 1, 2]


def test_an_image_that_cannot_be_read_is_named_for_every_seed(
    weights: Path, images: Path, out: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(images, tmp_path / "broken")
    (broken / "val" / "ant" / "000.png").write_bytes(b"no image")
    assert evaluate(KNN, weights, broken, out, "--seeds", 2) == 0
    for seed in read(out / "results.json")["seeds"]:
        assert [Path(skip["path"]).name for skip in seed["skipped"]] == ["000.png"]
        assert sum(map(sum, seed["metrics"]["confusion"])) == 5


# -- numbers that flags change


def test_k_and_temperature_reach_the_vote(
    weights: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, votes = [], knn.votes
    monkeypatch.setattr(knn, "votes", lambda *a: seen.append(a[4:]) or votes(*a))
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


# -- another evaluation in the same place


def test_another_evaluation_is_refused_and_said(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    before = snapshot(out)
    others = little.encoder_file(tmp_path / "other.safetensors", seed=1)
    more = little.folder(tmp_path / "more", train=15)
    for task, source, data, flags, said in (
        (KNN, weights, images, ("--k", 5), "is of other protocol;"),
        ("linear-fast", weights, images, (), "is of other protocol;"),
        (KNN, weights, images, ("--image-size", 48), "is of other protocol;"),
        (KNN, others, images, (), "is of other weights;"),
        (KNN, weights, more, (), "is of other data;"),
        (KNN, others, more, (), "is of other weights and data;"),
        (KNN, (weights, others), images, (), "there are results of other weights, in"),
    ):
        capsys.readouterr()
        assert evaluate(task, source, data, out, *flags) == 2
        line = told(capsys)
        assert line.startswith("lewel: --out") and said in line and "another --out" in line
        assert snapshot(out) == before


def test_rows_of_a_table_are_of_one_evaluation(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [little.encoder_file(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    assert evaluate(KNN, (weights, others[0]), images, out) == 0
    capsys.readouterr()
    assert evaluate("linear-fast", (others[1], others[1]), images, out) == 2
    assert f"{out / '1'}, {out / 'mine'}" in told(capsys)
    assert evaluate(KNN, weights, images, out) == 2
    assert evaluate(KNN, (weights, *others), images, out) == 0
    assert [row["weights"] for row in read(out / "table.json")] == ["mine", "1", "2"]


def test_what_never_came_to_a_checkpoint_is_no_obstacle(weights: Path, images: Path, out: Path) -> None:
    (out / "seed-0").mkdir(parents=True)
    (out / "seed-0" / "job.json").write_text('{"identity": {"protocol": "x"}}')
    assert evaluate(KNN, weights, images, out) == 0


# -- mistakes


def no_labels(root: Path) -> Path:
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32)).save(root / part / f"{number}.png")
    return root


def missing_class(root: Path) -> Path:
    little.folder(root)
    for name in ("ant", "cow"):
        shutil.rmtree(root / "train" / name)
    return little.folder(root, train=4, val=0, classes=("bee", "dog"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_labels, ": no labels in "),
        (missing_class, "2 classes of val are missing in train: ant, cow;"),
        (lambda root: little.folder(root, classes=("ant",)), "only one class, the folder ant;"),
        (lambda root: root / "nothing", "no such folder"),
    ],
    ids=["no labels", "missing", "one class", "nothing"],
)
def test_wrong_data(
    make: Any, said: str, weights: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("linear-byol", weights, make(tmp_path / "data"), out) == 2
    line = told(capsys)
    assert line.startswith("lewel: --data") and said in line and not out.exists()


def test_a_list_of_names_that_do_not_exist(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"n{number}.JPEG" for number in range(5)]
    (tmp_path / "list.txt").write_text("\n".join(["ant/000.png", *names]))
    assert evaluate("semi-10", weights, images, out, "--subset", tmp_path / "list.txt") == 2
    line = told(capsys)
    assert "5 of its 6 names do not exist in the images for training: n0.JPEG, n1.JPEG, n2.JPEG, ...;" in line
    assert not out.exists()


def broken_file(path: Path, value: float) -> Path:
    little.encoder_file(path)
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    for name in ("layer2.0.bn1.weight", "layer2.0.bn2.weight"):
        state[name][3] = value
    safetensors.torch.save_file(state, path, metadata)
    return path


@pytest.mark.parametrize("task", [KNN, "linear-byol", "finetune"])
def test_weights_that_are_not_finite(
    task: str, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = broken_file(tmp_path / "broken.safetensors", float("nan"))
    assert evaluate(task, given, images, out) == 2
    line = told(capsys)
    assert f"--weights {given}: values that are not finite in 2 tensors, first layer2.0.bn1.weight;" in line
    assert not out.exists()


def test_features_that_overflow_name_the_layer_and_are_no_obstacle(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, broken_file(tmp_path / "broken.safetensors", 3e38), images, out) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"features of .*000\.png are not finite, first in layer2\.0\.\w+;", line)
    assert not list(out.rglob("results.json")) and not list(out.rglob("table.*"))
    assert evaluate(KNN, weights, images, out) == 0


def test_weights_that_do_not_fit(images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "a.pth")
    vit = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), vit)
    vits = f"timm:vit_tiny_patch16_224={vit}"
    for task, source, flags, said in (
        (KNN, f"timm:resnet34={tmp_path / 'a.pth'}", (), "does not fit resnet34"),
        (KNN, tmp_path / "none", (), "does not exist"),
        (KNN, vits, ("--image-size", 32), "--image-size 32"),
        ("semi-10", vits, (), "semi-10 fine-tunes CNNs, this is a vit_tiny_patch16_224; take a task with frozen"),
    ):
        assert evaluate(task, source, images, out, *flags) == 2
        line = told(capsys)
        assert line.startswith("lewel: ") and said in line and not out.exists()


def test_all_weights_are_looked_at_before_the_first_is_evaluated(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, (weights, "random:resnet10x"), images, out) == 2
    assert "resnet10x" in told(capsys) and not out.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seeds", 0), "--seeds 0: must be 1 or more"),
        (("--seed", -1), "--seed -1: must be 0 or more"),
        (("--workers", -1), "--workers -1: must be 0 or more"),
        (("--val-share", 1), "--val-share 1: must be between 0 and 1"),
        (("--subset", "list.txt"), "--subset list.txt: linear-byol takes all labels; leave it out"),
        (("--k", 5), "--k 5: linear-byol has no such number; leave it out"),
        (("--precision", "fp16"), "--precision fp16 needs a CUDA GPU, this is cpu"),
    ],
)
def test_wrong_flags(
    flags: Any, said: str, weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("linear-byol", weights, images, out, *flags) == 2
    assert said in told(capsys) and not out.exists()


@pytest.mark.parametrize("flag", ["weights", "data", "out"])
def test_missing_flags(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--weights": "random:resnet10t", "--data": "images", "--out": "out"}
    del given[f"--{flag}"]
    assert lewel("evaluate", KNN, *(part for pair in given.items() for part in pair)) == 2
    assert told(capsys).startswith(f"lewel: --{flag} is missing: lewel evaluate TASK --weights RUN")
    assert not list(tmp_path.iterdir())


def test_classes_for_attributes(weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("faces-attributes", weights, images, out) == 2
    assert "faces-attributes needs attributes, in CelebA's layout" in told(capsys) and not out.exists()


def test_a_batch_that_batch_norm_cannot_take(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("finetune", weights, images, out, "--batch-size", 1) == 2
    assert "--batch-size 1: batch norm" in told(capsys) and not out.exists()


def test_several_processes_are_refused(
    weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert evaluate(KNN, weights, images, out) == 2
    assert "lewel evaluate runs in one process; start it without torchrun or srun" in told(capsys)
    assert not out.exists()


def test_a_place_that_is_taken(weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out.write_text("mine")
    assert evaluate(KNN, weights, images, out) == 2
    assert f"--out {out} is a file" in told(capsys) and out.read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_a_place_that_is_in_use(weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out.mkdir()
    code = (
        "import sys; from pathlib import Path; from lewel.engine import files\n"
        "with files.locked(Path(sys.argv[1])): print(1, flush=True), sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, out / ".lock"], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        assert evaluate(KNN, weights, images, out) == 2
        holder.stdin.close()
    assert f"--out {out} is in use by another process" in told(capsys)


def test_the_list_has_a_line_a_task(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert lewel("evaluate", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in evaluation.protocols.PROTOCOLS:
        assert sum(line.split()[0] == name for line in lines) == 1
    assert lewel("evaluate") == 0 and capsys.readouterr().out.splitlines() == lines


# -- killed


def metrics(out: Path) -> Any:
    return read(out / "results.json")["metrics"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("linear-byol", ("--epochs", 60, "--batch-size", 6)),
        ("semi-10", ("--epochs", 40, "--batch-size", 4, "--seeds", 2)),
    ],
)
def test_killed_at_random_moments_and_started_again_is_unbroken(
    task: str, flags: Any, weights: Path, tmp_path: Path
) -> None:
    """Start-up and saving included; the same command goes on each time."""
    images = little.folder(tmp_path / "images", train=60, val=12)
    command = [sys.executable, "-m", "lewel", "evaluate", task, "--weights", weights, "--data", images, *HERE, *flags]
    words, environment = list(map(str, command)), os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    began = time.monotonic()
    subprocess.run([*words, "--out", tmp_path / "unbroken"], env=environment, check=True, capture_output=True)
    whole = time.monotonic() - began
    random, kills = np.random.default_rng(), 0
    for _ in range(40):
        process = subprocess.Popen([*words, "--out", str(tmp_path / "killed")], env=environment, stderr=-3, stdout=-3)
        try:
            process.wait(random.uniform(0.3, 1.0) * whole)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert process.returncode == 0
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "unbroken")
    for job in (tmp_path / "unbroken").glob("seed-*"):
        here = tmp_path / "killed" / job.name
        with np.load(job / "predictions.npz") as ours, np.load(here / "predictions.npz") as theirs:
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    print(f"{kills} kills")
