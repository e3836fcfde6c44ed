"""lewel under torchrun, started as README.md shows it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from command import lewel
from lewel.data import scenes
from lewel.engine import checkpoint
from test_parallel import ENVIRONMENT, free_port

SMALL = ["--encoder", "test_resnet", "--image-size", "64", "--batch-size", "16", "--hidden", "16", "--dim", "8"]
SMALL += ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--evaluate", "none"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=32, val=10, size=64)


def test_torchrun_takes_no_flag_of_pretrain_for_its_own(capsys) -> None:
    """argparse looks at every argument, behind `-m lewel` too, and refuses an ambiguous short form of its own flags."""
    assert lewel("pretrain", "--help") == 0
    flags = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert {"--data", "--out", "--batch-size"} <= flags and "--run" not in flags
    for flag in flags:
        command = ["pretrain", "byol_tiny", flag, "value"]
        parsed = get_args_parser().parse_args(["--nproc-per-node", "2", "-m", "lewel", *command])
        assert (parsed.training_script, parsed.training_script_args) == ("lewel", command)


def test_the_former_name_of_out_still_works(photos, tmp_path, capsys) -> None:
    file = tmp_path / "file"
    file.touch()
    for arguments in (("--out", file), ("--run", file), (f"--run={file}",)):
        assert lewel("pretrain", "byol_tiny", "--data", photos, *SMALL, *arguments) == 2
        assert f"--out {file} is a file" in " ".join(capsys.readouterr().err.split())


def torchrun(photos: Path, run: Path) -> subprocess.Popen[str]:
    """README.md's command for several GPUs, with a small encoder; 20 steps."""
    command = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", "--master-port", free_port()]
    command += ["-m", "lewel", "pretrain", "lewel_m_tiny", "--data", photos, "--out", run, *SMALL, "--bn-groups", "2"]
    command += ["--epochs", "10", "--save-every", "1000", "--log-every", "1"]
    return subprocess.Popen([*map(str, command)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_run_under_torchrun_is_stopped_saves_and_goes_on_to_the_same_weights(photos, tmp_path) -> None:
    """torchrun passes SIGTERM on, gives its processes half a minute to save, and ends with 1 whatever theirs was."""
    stopped = torchrun(photos, tmp_path / "run")
    assert stopped.stderr is not None
    said = ""
    while "step 1/20" not in said:
        said += stopped.stderr.readline()
        assert stopped.poll() is None, said
    stopped.send_signal(signal.SIGTERM)
    said += stopped.communicate(timeout=200)[1]
    ended = re.findall(r"lewel: stopped (?:by SIGTERM )?at step (\d+) of 20, and saved", said)
    assert stopped.returncode == 1 and len(ended) == 1, said
    found, damages = checkpoint.newest_whole(tmp_path / "run")
    assert found is not None and not damages and int(found.name[5:]) == int(ended[0])
    for run in ("run", "unbroken"):
        whole = torchrun(photos, tmp_path / run)
        said = whole.communicate(timeout=400)[1]
        assert whole.returncode == 0, said
        assert (f"going on at step {int(found.name[5:])} of 20" in said) == (run == "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [*range(1, 21)]  # of two processes one record
    assert "2 process(es)" in (tmp_path / "run" / "config.yaml").read_text()
    for name in ("encoder.safetensors", "checkpoints/step-00000020/module.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
