"""Bits that a change of structure must leave alone: train, evaluate, and compare with what was recorded before.

    python tests/bits/record.py --out before.json           with the code as it was
    python tests/bits/record.py --compare before.json       with the changed code, on the same machine

Each entry is the SHA-256 of `encoder.safetensors` after 30 steps in fp32 on one thread, or the metrics of an evaluation
of untrained weights. Digests depend on the processor's rounding, so they are compared on one machine and never kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from command import lewel
from lewel.data import scenes

METHODS = ("moco_v2", "byol", "lewel_m", "lewel_b")
# 48 images in batches of 8 for 5 epochs: 30 steps
SMALL = ["--encoder", "test_resnet", "--image-size", "64", "--hidden", "16", "--dim", "8", "--batch-size", "8"]
SMALL += ["--epochs", "5", "--workers", "0", "--device", "cpu", "--precision", "fp32", "--evaluate", "none"]
RUNS = {  # name: flags of `lewel pretrain`, processes
    "seed 0": (["--seed", "0"], 1),
    "seed 1": (["--seed", "1"], 1),
    "accumulate 2": (["--seed", "0", "--accumulate", "2"], 1),
    "2 processes": (["--seed", "0", "--bn-groups", "2"], 2),
}
TASKS = ("knn-k20-t0.07", "linear-fast")


def digest(folder: Path, images: Path, method: str, flags: list[str], processes: int) -> str:
    """Train, and hash the encoder."""
    command = ["pretrain", f"{method}_tiny", "--data", str(images), "--out", str(folder), *SMALL, *flags]
    if processes == 1:
        assert lewel(*command) == 0
    else:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        subprocess.run([*launch, "-m", "lewel", *command], check=True)
    return hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()


def metrics(folder: Path, images: Path, task: str) -> dict[str, object]:
    """What an evaluation of untrained weights gives."""
    flags = ["--weights", "random:test_resnet", "--data", str(images), "--out", str(folder), "--workers", "0"]
    assert lewel("evaluate", task, *flags, "--device", "cpu") == 0
    return json.loads((folder / "results.json").read_text())["metrics"]


def record(only: str, known: dict[str, object], out: Path | None) -> dict[str, object]:
    """All runs and evaluations whose names contain `only`, in a folder that is gone afterwards.

    known: entries that need not be made again.  out: written after each entry.
    """
    torch.set_num_threads(1)
    found = dict(known)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = scenes.make(folder / "images", train=48, val=16, size=64)
        for key, make in _entries(folder, images).items():
            if only in key and key not in known:
                found[key] = make()
                print(f"{key}: {found[key]}", flush=True)
                if out is not None:
                    out.write_text(json.dumps(found, indent=1))
    return found


def _entries(folder: Path, images: Path) -> dict[str, Callable[[], object]]:
    made: dict[str, Callable[[], object]] = {
        f"{method}, {run}": partial(digest, folder / f"{method} {run}", images, method, *RUNS[run])
        for run in RUNS
        for method in METHODS
    }
    return made | {task: partial(metrics, folder / task, images, task) for task in TASKS}


def differing(before: dict[str, object], now: dict[str, object]) -> list[str]:
    return [key for key in sorted(before | now) if before.get(key) != now.get(key)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Record the bits of training, or compare them with a recording.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--out", type=Path, help="file to write, or to complete")
    choice.add_argument("--compare", type=Path, help="file that --out wrote on this machine")
    parser.add_argument("--only", default="", help="runs whose names contain this text, such as 'lewel_m, seed'")
    arguments = parser.parse_args()
    if arguments.out:
        known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        found = record(arguments.only, known, arguments.out)
        print(f"{len(found)} entries in {arguments.out}")
        return 0
    before = {key: value for key, value in json.loads(arguments.compare.read_text()).items() if arguments.only in key}
    found = record(arguments.only, {}, None)
    wrong = differing(before, {key: found[key] for key in before if key in found})
    print(f"{len(before) - len(wrong)} of {len(before)} entries are identical" + "".join(f"\n  {key}" for key in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
