#!/usr/bin/env bash
# All four methods on CIFAR-10, 3 seeds each, on one GPU; then a table of kNN top-1 before and after.
#
#   examples/cifar10_gpu.sh DATA [EPOCHS]     DATA: CIFAR-10's binary files, or train/CLASS/*, test/CLASS/*
#
# EPOCHS is 200 unless given. A run that was stopped goes on when this is started again; a finished one is left alone.
set -euo pipefail
data=${1:?usage: $0 DATA [EPOCHS]}
epochs=${2:-200}
runs=runs/cifar10_${epochs}ep
for seed in 0 1 2; do
    for method in moco_v2 lewel_m byol lewel_b; do
        lewel pretrain "${method}_cifar10" --data "$data" --out "$runs/$method-$seed" --seed "$seed" --epochs "$epochs" --every 20
    done
done
python - "$runs" <<'PY'
import json, pathlib, statistics, sys

for method in ("moco_v2", "lewel_m", "byol", "lewel_b"):
    curves = []
    for run in sorted(pathlib.Path(sys.argv[1]).glob(f"{method}-*")):
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        curves.append([r["knn/top1"] for r in records if "knn/top1" in r])
    before, after = [c[0] for c in curves], [c[-1] for c in curves]
    spread = statistics.stdev(after) if len(after) > 1 else float("nan")
    print(f"{method:8} n={len(curves)} kNN {statistics.mean(before):.2f} -> {statistics.mean(after):.2f} +- {spread:.2f}")
PY
