"""The campaign of docs/claims.md: train and measure each arm with each seed, one row of docs/data/claims.csv at a time.

    python benchmarks/claims/run.py --data CIFAR --work RUNS [--pilot] [--seeds 0 1 2 3 4] [--arms lewel_m moco_v2]

What has its row already is left out, so the same command goes on after it was stopped; the runs themselves go on too.
Seeds are the outer loop: all arms of a seed run on one machine before the next seed begins, and a row names the
processor. Run it from a checkout of the commit that docs/claims.md names.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ARMS = (
    "moco_v2", "lewel_m", "lewel_m_separate_head", "lewel_m_aligned_only", "lewel_m_random_maps",
    "lewel_m_uniform_maps", "lewel_m_groups_1", "lewel_m_temperature_03", "lewel_m_temperature_01",
    "moco_v2_extra_head", "byol", "lewel_b", "lewel_b_groups_1",
)  # fmt: skip
RATES = (0.5, 1.0, 2.0)  # times the recipe's lr, for every arm
BATCH = 64
PILOT_SEED = 100
EVERY = 1000  # epochs: measured before the first step and after the last
COLUMNS = (
    "arm", "seed", "lr", "images_seen", "knn_untrained", "knn", "linear_fast_untrained", "linear_fast", "loss",
    "rankme", "cpu_s", "processor", "threads", "precision", "torch", "commit",
)  # fmt: skip


def run_lewel(*arguments: object) -> None:
    """The command, with the encoder of the claims in timm's list."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, HERE / "lewel_with_models.py", *arguments]
    subprocess.run(list(map(str, command)), check=True, env=environment)


def measured(arm: str, seed: int, lr: float, data: str, work: Path) -> dict[str, object]:
    """Train the arm, or go on with it, and read what it recorded."""
    out = work / f"{arm}-seed{seed}-lr{lr:g}"
    flags = [
        "--seed",
        seed,
        "--evaluate",
        "knn,linear-fast",
        "--every",
        EVERY,
        "--workers",
        0,
        "--precision",
        "fp32",
        "--device",
        "cpu",
    ]
    flags += ["--lr", f"{lr:g}"]
    began = os.times().children_user
    run_lewel("pretrain", f"{HERE / 'recipes.py'}:{arm}", "--data", data, "--out", out, *flags)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "knn/top1" in row]
    return {
        "arm": arm, "seed": seed, "lr": lr, "images_seen": rows[-1]["step"] * BATCH,
        "knn_untrained": evaluations[0]["knn/top1"], "knn": evaluations[-1]["knn/top1"],
        "linear_fast_untrained": evaluations[0]["linear-fast/top1"],
        "linear_fast": evaluations[-1]["linear-fast/top1"],
        "loss": next(row["loss"] for row in reversed(rows) if row.get("loss") is not None),
        "rankme": next(row["rankme"] for row in reversed(rows) if "rankme" in row),
        "cpu_s": round(os.times().children_user - began), "processor": processor(), "threads": 1, "precision": "fp32",
        "torch": version(), "commit": commit(),
    }  # fmt: skip


def processor() -> str:
    """The model, and AVX-512 or not, which decides the rounding."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "unknown")
    return f"{name}, {'AVX-512' if ' avx512f' in text else 'AVX2'}"


def version() -> str:
    import torch

    return torch.__version__


def commit() -> str:
    found = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()


def rates() -> dict[str, float]:
    """Each arm's lr: the best of the pilot by kNN, of those that have all three."""
    with (ROOT / "docs/data/pilot.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = {arm: max((row for row in rows if row["arm"] == arm), key=lambda row: float(row["knn"])) for arm in ARMS}
    return {arm: float(row["lr"]) for arm, row in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--pilot", action="store_true", help="the three rates of each arm, with the pilot's seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE))
    import recipes

    out = ROOT / "docs/data" / ("pilot.csv" if given.pilot else "claims.csv")
    there = list(csv.DictReader(out.open())) if out.exists() else []
    done = {(row["arm"], int(row["seed"]), float(row["lr"])) for row in there}
    own = {arm: getattr(recipes, arm)().optimizer.lr for arm in given.arms}
    jobs = [(arm, PILOT_SEED, own[arm] * rate) for arm in given.arms for rate in RATES]
    if not given.pilot:
        chosen = rates()
        jobs = [(arm, seed, chosen[arm]) for seed in given.seeds for arm in given.arms]
    for arm, seed, lr in jobs:
        if (arm, seed, lr) in done:
            continue
        print(time.strftime("%H:%M"), arm, "seed", seed, "lr", lr, flush=True)
        row = measured(arm, seed, lr, given.data, given.work)
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if not there:
                writer.writeheader()
            writer.writerow(row)
        there.append({})


if __name__ == "__main__":
    main()
