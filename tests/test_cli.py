"""The commands, as a user types them: what they leave behind, and the one line when something does not fit."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from command import lewel
from lewel import cli
from lewel.data import scenes
from lewel.data.loader import batches
from lewel.engine.files import locked
from lewel.evaluate import linear_fast
from lewel.interop import runs

SMALL = ["--encoder", "test_resnet", "--batch-size", "16", "--epochs", "2", "--hidden", "32", "--dim", "16"]
SMALL += ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--log-every", "2"]
PREDICTIVE = ["--warmup-epochs", "0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=40, val=20, size=64)


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A finished run of LEWEL_B, and what it said."""
    run = tmp_path_factory.mktemp("runs") / "lewel_b"
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", run, *SMALL, *PREDICTIVE) == 0
    return run


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_what_it_says(finished) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "checkpoints", "encoder.safetensors", "metrics.jsonl", "train.log", "report.html"} <= names
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "knn/top1" in row] == [0, 2, 4]  # 40 images, batch 16: 2 steps an epoch
    assert rows[-1]["step"] == 4 or rows[-2]["step"] == 4


def test_evaluating_changes_no_bit_of_the_training(finished, photos, tmp_path, monkeypatch, capsys) -> None:
    """Compared with `finished`, which measured kNN: all that checkpoints hold, weights, optimizer, random numbers."""
    monkeypatch.setattr(linear_fast, "MOST_STEPS", 5)
    command = ("pretrain", "lewel_b_tiny", "--data", photos, *SMALL, *PREDICTIVE)
    for name, flags in (("all", ("--evaluate", "knn,linear-fast", "--every", 1)), ("none", ("--evaluate", "none"))):
        assert lewel(*command, "--out", tmp_path / name, *flags) == 0
        assert files(tmp_path / name / "checkpoints") == files(finished / "checkpoints")
        encoder = tmp_path / name / "encoder.safetensors"
        assert encoder.read_bytes() == (finished / "encoder.safetensors").read_bytes()
    assert re.search(r"epoch 2: linear-fast top-1 \S+ % \(decay .* 40 keys of train.*evaluated in", said(capsys))
    rows = [json.loads(line) for line in (tmp_path / "all" / "metrics.jsonl").read_text().splitlines()]
    found = [row for row in rows if "evaluate_s" in row]
    assert [row["step"] for row in found] == [0, 2, 4] and all(
        {"knn/top1", "linear-fast/top1"} <= {*row} for row in found
    )
    assert "top1" not in (tmp_path / "none" / "metrics.jsonl").read_text()
    assert "linear-fast top-1" in (tmp_path / "all" / "report.html").read_text()


def said(capsys) -> str:
    """Standard error, its lines joined."""
    return " ".join(capsys.readouterr().err.split())


def test_evaluating_every_other_epoch(photos, tmp_path, monkeypatch) -> None:
    """And after the last step, whichever epoch that ends."""
    monkeypatch.setattr(linear_fast, "MOST_STEPS", 5)
    command = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path, *SMALL, *PREDICTIVE, "--epochs", "3")
    assert lewel(*command, "--every", "2", "--evaluate", "linear-fast") == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "linear-fast/top1" in row] == [0, 4, 6]
    assert not [row for row in rows if "knn/top1" in row]


def test_without_labels_nothing_is_measured_and_that_is_said(photos, tmp_path, capsys) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted((photos / "train").rglob("*.jpg"))):
        shutil.copy(path, flat / f"{i}.jpg")
    command = ("pretrain", "lewel_b_tiny", "--data", flat, "--out", tmp_path / "run", *SMALL, *PREDICTIVE, "--dry-run")
    for flags, told in (((), 1), (("--evaluate", "none"), 0), (("--evaluate", "linear-fast"), 1)):
        assert lewel(*command, *flags) == 0
        assert said(capsys).count(f"nothing will be measured: {flat} is not divided into train and val") == told


def test_an_unknown_evaluation_is_an_error(photos, tmp_path, capsys) -> None:
    command = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL)
    assert lewel(*command, "--evaluate", "knn,linear") == 2
    assert "did you mean linear-fast?" in said(capsys)
    assert lewel(*command, "--every", "0") == 2
    assert "--every 0: must be 1 or more" in said(capsys)
    assert not (tmp_path / "run").exists()


def test_the_encoder_is_timms(finished) -> None:
    model = timm.create_model("test_resnet", num_classes=0)
    model.load_state_dict(safetensors.torch.load_file(finished / "encoder.safetensors"), strict=True)


def test_the_same_command_again_changes_no_weight(finished, photos) -> None:
    before = files(finished / "checkpoints"), (finished / "encoder.safetensors").read_bytes()
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", finished, *SMALL, *PREDICTIVE) == 0
    assert before == (files(finished / "checkpoints"), (finished / "encoder.safetensors").read_bytes())


def test_a_kill_between_the_last_checkpoint_and_the_encoder_is_made_good(finished, photos) -> None:
    before = (finished / "encoder.safetensors").read_bytes()
    (finished / "encoder.safetensors").write_bytes(b"of an earlier step")
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", finished, *SMALL, *PREDICTIVE) == 0
    assert (finished / "encoder.safetensors").read_bytes() == before


def test_a_run_that_started_from_weights_still_has_them_for_its_pictures(finished, photos, tmp_path) -> None:
    given = tmp_path / "given.safetensors"
    shutil.copy(finished / "encoder.safetensors", given)
    command = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, *PREDICTIVE)
    assert lewel(*command, "--init", given) == 0
    expected = safetensors.torch.load_file(given)
    given.unlink()
    began = runs.load(tmp_path / "run").initial.online.encoder.backbone.state_dict()
    assert expected.keys() == began.keys() and all(torch.equal(began[name], expected[name]) for name in expected)


def test_images_that_live_on_the_device_train_the_same_encoder(finished, photos, tmp_path, monkeypatch, capsys) -> None:
    """Bit for bit: the images are not larger than the views."""
    monkeypatch.setenv("CXX", "none")  # compiling takes half a minute
    command = ("pretrain", "lewel_b_tiny", "--data", photos, *SMALL, *PREDICTIVE)
    held = (*command, "--out", tmp_path / "run", "--executor", "resident", "--save-every", "2")
    assert lewel(*held) == 0
    assert "resident" in capsys.readouterr().err
    encoder = tmp_path / "run" / "encoder.safetensors"
    assert encoder.read_bytes() == (finished / "encoder.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000004")
    encoder.unlink()
    assert lewel(*held) == 0 and "going on at step 2 of 4" in capsys.readouterr().err
    assert encoder.read_bytes() == (finished / "encoder.safetensors").read_bytes()
    assert lewel(*command, "--out", finished, "--executor", "auto") == 0  # on a CPU auto is what the run had, Pillow


@pytest.mark.parametrize("method", ["moco_v2", "byol", "lewel_m"])
def test_the_other_methods_run(method, photos, tmp_path) -> None:
    extra = PREDICTIVE if method == "byol" else ["--bn-groups", "2"]
    assert lewel("pretrain", f"{method}_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, *extra) == 0
    assert (tmp_path / "run" / "encoder.safetensors").exists()


def test_dry_run_writes_nothing(photos, tmp_path, capsys) -> None:
    command = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, *PREDICTIVE)
    assert lewel(*command, "--dry-run") == 0
    assert "images/s" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_accumulation_says_what_it_really_has(photos, tmp_path, capsys) -> None:
    command = ("pretrain", "lewel_m_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, "--bn-groups", "1")
    assert lewel(*command, "--accumulate", "2", "--dry-run") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "16 = 1 x 2 x 8" in said
    assert "BN statistics over 8 images" in said
    assert f"aligned {7 * 4}" in said  # 16 maps in 4 groups: 4 embeddings of each of the 7 other images


def test_pictures(finished, photos, tmp_path) -> None:
    assert lewel("maps", "--run", finished, "--data", photos, "--out", tmp_path / "maps.png") == 0
    assert lewel("views", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "views.png", "--images", "3") == 0
    assert lewel("compare", finished, finished, "--out", tmp_path / "curves.png") == 0
    for name in ("maps.png", "views.png", "curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200


def test_no_user_file_is_changed(photos, tmp_path) -> None:
    before = files(photos)
    assert lewel("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, *PREDICTIVE) == 0
    assert files(photos) == before


B = ["lewel_b_tiny", *SMALL, *PREDICTIVE]
M = ["moco_v2_tiny", "--batch-size", "16"]
ERRORS = {
    "no images": ([*B, "--data", "EMPTY"], "no images|found no"),
    "no folder": ([*B, "--data", "NOWHERE"], "nowhere"),
    "fewer images than a batch": ([*B, "--batch-size", "64"], "--batch-size"),
    "batch of 1": ([*B, "--batch-size", "1"], "--batch-size"),
    "a queue that the batch does not divide": ([*M, "--queue", "24"], "--queue"),
    "a queue larger than the data": ([*M, "--queue", "64"], "queue of 64.*--queue"),
    "groups that do not divide the maps": ([*B, "--groups", "3"], "--groups"),
    "groups that do not divide the channels": ([*B, "--dim", "15", "--groups", "5"], "--groups 5.*channels"),
    "one position": ([*B, "--image-size", "32"], "--image-size"),
    "unknown recipe": (["lewel_b_tini"], "lewel_b_tiny"),
    "unknown encoder": ([*B, "--encoder", "resnet81"], "--encoder"),
    "no weights": ([*B, "--init", "nowhere.pth"], "nowhere"),
    "another recipe": (["byol_tiny", *SMALL, *PREDICTIVE, "--out", "FINISHED"], "another"),
    "other numbers": ([*B, "--out", "FINISHED", "--lr", "3"], "optimizer.lr"),
    "another precision": ([*B, "--out", "FINISHED", "--precision", "bf16"], "precision fp32 -> bf16"),
    "another executor": ([*B, "--out", "FINISHED", "--executor", "resident"], "executor pillow -> resident"),
    "as many images of other names": (
        [*B, "--out", "FINISHED", "--data", "RENAMED"],
        "40 images, digest .* now has 40",
    ),
    "more epochs": ([*B, "--out", "FINISHED", "--epochs", "3"], "--extend"),
    "no GPU": ([*B, "--device", "mps" if torch.cuda.is_available() else "cuda"], "--device"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_one_line_and_exit_code_2(name, photos, finished, tmp_path, capsys) -> None:
    arguments, pattern = ERRORS[name]
    (tmp_path / "empty").mkdir()
    places = {"FINISHED": finished, "EMPTY": tmp_path / "empty", "NOWHERE": tmp_path / "nowhere"}
    if "RENAMED" in arguments:
        places["RENAMED"] = tmp_path / "renamed"
        shutil.copytree(photos, places["RENAMED"])
        first = next((places["RENAMED"] / "train").rglob("*.jpg"))
        first.rename(first.with_stem("another"))
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    for flag, usual in (("--data", photos), ("--out", tmp_path / "run")):
        arguments += [] if flag in arguments else [flag, str(usual)]
    before = files(finished)
    capsys.readouterr()
    assert lewel("pretrain", *arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert len(said) == 1 and re.search(pattern, said[0]), said
    assert not (tmp_path / "run").exists()
    assert files(finished) == before


@pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL")
def test_a_run_directory_takes_one_process_at_a_time(finished, photos, capsys) -> None:
    before = files(finished)
    code = "import os, sys, time; from pathlib import Path; from lewel.engine.files import locked\n"
    code += "with locked(Path(sys.argv[1])):\n child = os.fork()\n if child: print(child, flush=True)\n time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, finished / ".lock"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    command = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", finished, *SMALL, *PREDICTIVE)
    try:
        assert lewel(*command) == 2
        assert "is in use by another process" in " ".join(capsys.readouterr().err.split())
        assert files(finished) == before
    finally:
        holder.kill()
        holder.wait()
    with locked(
        finished / ".lock"
    ) as free:  # at once, although a child of the killed process, as its workers, lives on
        assert free
    os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL and SIGSTOP")
def test_a_run_outlives_its_data_workers(photos, tmp_path, monkeypatch, capsys) -> None:
    """Twelve steps; answers are received some batches ahead, so the trouble comes well before the end."""
    signals = {0: signal.SIGKILL, 4: signal.SIGSTOP}

    def disturbed(*arguments, **more):
        for number, batch in enumerate(batches(*arguments, **more, timeout_s=1)):
            yield batch
            for worker in multiprocessing.active_children() if number in signals else ():
                os.kill(worker.pid or 0, signals[number])

    command = ["lewel_b_tiny", "--data", photos, *SMALL, *PREDICTIVE, "--epochs", "6", "--evaluate", "none"]
    assert lewel("pretrain", *command, "--out", tmp_path / "calm") == 0
    monkeypatch.setattr("lewel.data.loader.batches", disturbed)
    assert lewel("pretrain", *command, "--out", tmp_path / "run", "--workers", "1") == 0
    assert not multiprocessing.active_children()
    said = " ".join(capsys.readouterr().err.split())
    for text in (said, (tmp_path / "run" / "train.log").read_text()):
        assert re.search(
            r"(?s)was killed by signal 9 .*; another one does .* did nothing for 1 s .*; another one", text
        )
    for name in ("encoder.safetensors", "checkpoints/step-00000012/module.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()
    assert losses(tmp_path / "run") == losses(tmp_path / "calm")


def losses(run) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL")
def test_data_workers_that_are_always_killed_stop_the_run(photos, tmp_path, monkeypatch, capsys) -> None:
    main = os.getpid()
    monkeypatch.setattr("lewel.data.loader.reading", lambda _: os.getpid() == main or os.kill(os.getpid(), 9))
    run = ("pretrain", "lewel_b_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, *PREDICTIVE)
    assert lewel(*run, "--workers", "1") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert len(said) == 1 and re.search(r"killed by signal 9 \(Killed\).*, the last of 3 in a row", said[0])
    assert not multiprocessing.active_children()


def test_unreadable_images_of_the_knn_are_listed_once(photos, tmp_path, capsys) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    damaged = next((tmp_path / "photos" / "val").rglob("*.jpg"))
    damaged.write_bytes(b"no picture")
    run = ("pretrain", "lewel_b_tiny", "--data", tmp_path / "photos", "--out", tmp_path / "run", *SMALL, *PREDICTIVE)
    assert lewel(*run) == 2  # one of 60 is more than 1 %
    lines = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(damaged)]
    assert str(damaged) in " ".join(capsys.readouterr().err.split())


def test_too_many_unreadable_images_stop_the_run_with_a_list(photos, tmp_path, capsys) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(np.full((40, 40, 3), 6 * i, np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_text("no picture")
    (folder / "empty.jpg").touch()
    command = ("pretrain", "lewel_b_tiny", "--data", folder, "--out", tmp_path / "run", *SMALL, *PREDICTIVE)
    assert lewel(*command, "--epochs", "20") == 2
    assert "images cannot be read" in capsys.readouterr().err
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert listed and {entry["path"].rsplit("/")[-1] for entry in listed} <= {"broken.jpg", "empty.jpg"}
    assert all(entry["reason"] for entry in listed)


def test_a_dry_run_finds_unreadable_images_and_more_can_be_allowed(photos, tmp_path, capsys) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    next((folder / "train").rglob("*.jpg")).write_bytes(b"no picture")
    command = (
        "pretrain",
        "lewel_b_tiny",
        "--data",
        folder,
        "--out",
        tmp_path / "run",
        *SMALL,
        *PREDICTIVE,
        "--dry-run",
    )
    assert lewel(*command, "--evaluate", "none") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"lewel: 1 of \d+ images cannot be read, more than 1 %: .*jpg: not an image", said)
    assert lewel(*command, "--evaluate", "none", "--max-unreadable", "0.2") == 0
    assert "cannot be read" in capsys.readouterr().err
    assert lewel(*command, "--max-unreadable", "2") == 2
    assert capsys.readouterr().err == "lewel: --max-unreadable 2: must be a share of the images, 0 to 1\n"
    assert not (tmp_path / "run").exists()


def test_recipes_are_listed(capsys) -> None:
    assert lewel("recipes", "lewel_b") == 0
    said = capsys.readouterr().out
    assert "lewel_b_in1k_100ep" in said and "moco_v2_tiny" not in said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError("libtorch_cpu.so: failed to map segment from shared object"), OSError(12, "no memory")],
)
def test_without_memory_every_command_says_so_in_one_line(error, monkeypatch, capsys) -> None:
    def command() -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "recipes", command)
    assert lewel("recipes") == 2
    assert re.fullmatch(r"lewel: out of memory \(.+\); allow the process more .*\n", capsys.readouterr().err)


def test_an_unknown_command_names_the_nearest(capsys) -> None:
    assert lewel("pretrian") == 2
    assert capsys.readouterr().err == "lewel: there is no command 'pretrian'; did you mean pretrain?\n"


def test_the_overview_names_every_command(capsys) -> None:
    assert lewel() == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in cli.COMMANDS)


@pytest.mark.parametrize("command", [(), *(tuple(name.split()) for name in cli.COMMANDS)])
def test_help_imports_nothing_heavy(command) -> None:
    """Answers in 0.3 s on an idle machine; what makes it slow is torch, so that is what is looked for."""
    code = "import sys; from lewel.cli import main; sys.argv[1:] = %r\ntry: main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'timm', 'matplotlib', 'numpy'} & set(sys.modules)"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code % [*command, "--help"]], check=True, capture_output=True)
    assert time.perf_counter() - began < 5


def two_processes(*commands: list[object]) -> list[tuple[int, str]]:
    """Exit code and standard error of `lewel pretrain` started as a launcher starts it, one process a command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lewel", "pretrain", *map(str, command)],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]
    return [(process.wait(), said) for process, said in ((p, p.communicate()[1]) for p in started)]


@pytest.mark.slow
def test_two_processes_keep_one_record(photos, tmp_path) -> None:
    command = ["lewel_m_tiny", "--data", photos, "--out", tmp_path / "run", *SMALL, "--bn-groups", "2", "--epochs", "1"]
    assert [code for code, _ in two_processes(command, command)] == [0, 0]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "knn/top1" in row] == [0, 2]
    assert "2 process(es)" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.slow
def test_two_processes_that_see_other_images_both_stop(photos, tmp_path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    next((tmp_path / "photos" / "train").rglob("*.jpg")).unlink()
    common = ["--out", tmp_path / "run", *SMALL, "--bn-groups", "2"]
    ends = two_processes(*(["lewel_m_tiny", "--data", data, *common] for data in (photos, tmp_path / "photos")))
    assert [code for code, _ in ends] == [2, 2]
    assert ["--data is not the same on all processes" in said for _, said in ends] == [True, False]  # said once
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_killed_twenty_times_the_weights_are_those_of_the_unbroken_run(photos, tmp_path) -> None:
    """SIGKILL at random moments, start-up and saving included; the same command goes on each time."""
    random = np.random.default_rng(0)
    command = [sys.executable, "-m", "lewel", "pretrain", "lewel_m_tiny", "--data", str(photos), *SMALL]
    command += ["--bn-groups", "2", "--epochs", "150", "--save-every", "3", "--evaluate", "none"]
    unbroken = [*command, "--out", str(tmp_path / "unbroken")]
    whole, start = seconds(unbroken), seconds(unbroken)  # the second time there is nothing left to do
    for _ in range(20):
        process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=0.6 * start + random.uniform(0, 0.08) * (whole - start))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.returncode == -9, "finished before the last kill"
    subprocess.run([*command, "--out", str(tmp_path / "killed")], check=True, capture_output=True)
    for name in ("encoder.safetensors", "checkpoints/step-00000300/module.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def seconds(command: list[str]) -> float:
    """How long a command takes, which must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
