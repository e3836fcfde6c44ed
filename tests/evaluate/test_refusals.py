"""What `lewel evaluate` refuses: one line, exit code 2, and nothing is written."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import little
import pytest
import safetensors.torch
import timm
import torch
from little import KNN, SHORT, evaluate, read, told
from PIL import Image

from command import lewel
from lewel.engine import precision
from lewel.evaluate import evaluation


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_other_images_under_the_same_names_are_other_data(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    others = shutil.copytree(images, tmp_path / "others")
    Image.new("RGB", (32, 32), "red").save(others / "train" / "bee" / "004.png")
    capsys.readouterr()
    assert evaluate(KNN, weights, others, out) == 2
    assert "is of other data;" in told(capsys)


def test_a_finished_job_keeps_its_facts_but_where_its_data_lie_now(
    weights: Path, images: Path, out: Path, tmp_path: Path
) -> None:
    assert evaluate(KNN, weights, images, out) == 0
    before = (out / "results.json").read_text()
    moved = shutil.copytree(images, tmp_path / "moved")
    assert evaluate(KNN, weights, moved, out) == 0
    assert (out / "results.json").read_text() == before.replace(str(images), str(moved)) != before


def test_precision_and_normalisation_are_part_of_a_job(
    weights: Path, images: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(precision, "hardware_bf16", lambda _: True)
    assert evaluate("faces-expression", weights, images, out, *SHORT) == 0
    monkeypatch.setattr(precision, "hardware_bf16", lambda _: False)
    capsys.readouterr()
    assert evaluate("faces-expression", weights, images, out, *SHORT) == 2
    assert "is of other precision;" in told(capsys)
    assert evaluate(KNN, weights, images, tmp_path / "knn") == 0
    opened = evaluation.open_subject
    monkeypatch.setattr(evaluation, "open_subject", lambda *a: dataclasses.replace(opened(*a), mean=(0.5, 0.5, 0.5)))
    capsys.readouterr()
    assert evaluate(KNN, weights, images, tmp_path / "knn") == 2
    assert "is of other normalisation;" in told(capsys)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": 3}'])
def test_a_damaged_job_is_said(
    content: str, weights: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "seed-0").mkdir(parents=True)
    (out / "seed-0" / "job.json").write_text(content)
    assert evaluate(KNN, weights, images, out) == 2
    line = told(capsys)
    assert line.startswith(f"lewel: {out / 'seed-0' / 'job.json'} is damaged")
    assert line.endswith(f"; delete {out / 'seed-0'}, or give another --out")


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
        (lambda root: little.folder(root, classes=("ant",)), "only one class, the folder ant of "),
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
        ("semi-10", vits, (), "semi-10 trains CNNs, this is a vit_tiny_patch16_224; take a task with frozen"),
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
    given = {"--weights": "random:test_resnet", "--data": "images", "--out": "out"}
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
