"""Nothing that prints or records can end a run: closed pipes, full disks, missing directories; and how a run ended."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import lewel
from lewel import callbacks, lines
from lewel.data import scenes
from lewel.engine import files, status
from lewel.visualize import report

TINY = ["--encoder", "test_resnet", "--image-size", "64", "--batch-size", "16", "--epochs", "2", "--hidden", "16"]
TINY += ["--dim", "8", "--workers", "0", "--device", "cpu", "--precision", "fp32", "--log-every", "1"]
ALONE = ["--evaluate", "none"]
KEPT = ("encoder.safetensors", "checkpoints/step-00000004")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("console") / "p[/b] \u202e[red]"
    generator = np.random.default_rng(0)
    for name in ("[cat]", "a\x1b[31m\ndog"):
        (folder / name).mkdir(parents=True)
        for number in range(16):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def pretrain(photos: Path, run: Path, *more: str) -> int:
    return lewel("pretrain", "lewel_m_tiny", "--data", photos, "--out", run, *TINY, *(more or ALONE))


def said(run: Path) -> list[str]:
    """train.log without times and levels."""
    return [line.split(" ", 3)[3] for line in (run / "train.log").read_text(encoding="utf-8").splitlines()]


def test_paths_are_shown_as_they_are_and_the_log_has_all_of_it(photos, tmp_path, capsys) -> None:
    run = tmp_path / "r[/x]"
    assert pretrain(photos, run) == 0
    screen = [line.rstrip() for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert screen[1].endswith("p[/b] \\u202e[red]") and screen[-1].startswith(f"done; in {run}: ")
    told = said(run)
    assert re.match(r"began: lewel \d", told[0]) and told[1:-1] == screen and told[-1] == "ended: done"
    assert status.read(run) == status.Status(4, 4, "done")


class Gone:
    """A terminal that is gone."""

    encoding = "utf-8"

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    flush = fileno = lambda self: self.write("")

    def isatty(self) -> bool:
        return True


def test_a_terminal_that_is_gone_does_not_end_a_run(photos, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Gone())
        patch.setattr(sys, "stdout", Gone())
        assert pretrain(photos, tmp_path / "run") == 0
    assert all((tmp_path / "run" / name).exists() for name in KEPT)
    assert said(tmp_path / "run")[-1] == "ended: done"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_closed_pipe_does_not_end_a_run(photos, tmp_path) -> None:
    """With the real streams, and the interpreter's own flush at the end."""
    command = [sys.executable, "-m", "lewel", "pretrain", "lewel_m_tiny", "--data", str(photos), "--out", "run"]
    line = '"$@" 2>&1 | head -c 1; exit "${PIPESTATUS[0]}"'
    source = str(Path(lines.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        ["bash", "-c", line, "-", *command, *TINY, *ALONE], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0
    assert all((tmp_path / "run" / name).exists() for name in KEPT)


RECORDS = ("metrics.jsonl", "train.log", "skipped.jsonl", "report.html", "status.json")


@pytest.fixture
def full_disk(monkeypatch) -> None:
    """No room for records; checkpoints are written."""
    real_append, real_replace = lines._append, files.replace

    def full(path: Path) -> None:
        if path.name in RECORDS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(lines, "_append", lambda path, text: full(path) or real_append(path, text))
    monkeypatch.setattr(files, "replace", lambda path, data: full(path) or real_replace(path, data))


def test_records_that_cannot_be_written_are_told_once(photos, tmp_path, capsys, full_disk) -> None:
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    for number in range(104):
        shutil.copy(data / "[cat]" / "0.png", data / "[cat]" / f"more-{number}.png")
    (data / "[cat]" / "0.png").write_bytes(b"no picture")
    assert pretrain(data, tmp_path / "run", *ALONE, "--epochs", "1") == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "not written" in line]
    assert sorted(re.findall(r"(\w+\.\w+) not written", "\n".join(warned))) == sorted(set(RECORDS) - {"status.json"})
    assert all("(No space left on device; make room); the run goes on without it" in line for line in warned)
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name in RECORDS) == []
    assert (tmp_path / "run" / "encoder.safetensors").exists()


def test_a_final_encoder_that_cannot_be_written_is_one_line(photos, tmp_path, capsys, monkeypatch) -> None:
    real = files.replace

    def full(path: Path, data: bytes) -> None:
        if path.name == "encoder.safetensors":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(path, data)

    monkeypatch.setattr(files, "replace", full)
    assert pretrain(photos, tmp_path / "run") == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    assert "not written (Read-only file system)" in told and "make room" not in told
    assert status.read(tmp_path / "run") == status.Status(4, 4, "failed", told.removeprefix("lewel: "))
    assert said(tmp_path / "run")[-1] == told.replace("lewel: ", "ended: ")


def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def at_step(number: int, monkeypatch, act) -> None:
    """Do something after a step."""
    real = callbacks.Report.__call__

    def call(self, step) -> None:
        real(self, step)
        if step.number == number:
            act()

    monkeypatch.setattr(callbacks.Report, "__call__", call)


def test_a_stopped_run_says_by_what_and_where_and_later_that_it_is_done(photos, tmp_path, monkeypatch, capsys) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(1, patch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert pretrain(photos, run) == 75
    told = "stopped by SIGTERM at step 2 of 4, and saved; the same command goes on from there"
    assert f"lewel: {told}\n" in capsys.readouterr().err
    assert status.read(run) == status.Status(2, 4, "stopped", told)
    assert told in page(run) and ">of 4<" in page(run) and said(run)[-1] == f"ended: {told}"
    assert pretrain(photos, run) == 0
    assert told not in page(run) and 'class="ended">done<' in page(run)
    assert [line for line in said(run) if line.startswith("ended: ")] == [f"ended: {told}", "ended: done"]
    assert "going on at step 2 of 4" in said(run)


class Killed(BaseException):
    """Ends a run as a kill does: nothing that handles exceptions of the package sees it."""


def test_a_killed_run_repeats_no_row_and_its_page_does_not_say_done(tmp_path, monkeypatch) -> None:
    """The kill comes between the first evaluation and the first checkpoint."""
    data = scenes.make(tmp_path / "scenes", train=32, val=16, size=32)
    run = tmp_path / "run"

    real = callbacks.Report.write

    def only_while_running(self, state, reason="") -> None:
        if state == "running":
            real(self, state, reason)

    def killed() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Report, "write", only_while_running)
        at_step(1, patch, killed)
        for _ in range(2):
            with pytest.raises(Killed):
                pretrain(data, run, "--save-every", "2")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps.count(0) == 1
    assert status.read(run) == status.Status(0, 4, "running") and "it was killed" in page(run)
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text() + '{"step": "7", "loss": []}\n')
    assert pretrain(data, run, "--save-every", "2") == 0
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [steps.count(number) for number in range(5)] == [1, 1, 2, 1, 2]  # after an epoch, the evaluation's too


def test_a_run_that_diverges_says_where(photos, tmp_path, capsys) -> None:
    assert pretrain(photos, tmp_path / "run", *ALONE, "--lr", "1e30") == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    found = status.read(tmp_path / "run")
    assert found is not None and found.state == "failed" and told == f"lewel: {found.reason}"
    assert "not finite" in page(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    ["", "[1]", '{"step": 1}', '{"step": 1, "total_steps": 2, "state": "x", "reason": ""}', "\0", "[" * 9999],
)
def test_a_damaged_status_is_none(tmp_path, content) -> None:
    (tmp_path / "status.json").write_text(content)
    assert status.read(tmp_path) is None
    assert "no steps recorded" in report.page(tmp_path, {})
