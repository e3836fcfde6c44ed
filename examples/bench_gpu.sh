#!/usr/bin/env bash
# Every figure of speed that needs a GPU, as JSON and as tables, on one GPU, in about a quarter of an hour.
#
#   examples/bench_gpu.sh OUT [PYTHON]     OUT: folder for the results; PYTHON: an interpreter that has lewel
#
# `pip install 'lewel[bench]'` first, for the comparisons with its BYOL and MoCo. The images are made: nothing is downloaded.
set -euo pipefail
out=${1:?usage: $0 OUT [PYTHON]}
python=${2:-python}
mkdir -p "$out"
bench() { # NAME ARGUMENT...: a failure is written down, and the others are still measured
    local name=$1
    shift
    echo "== $name: lewel bench $*"
    "$python" -m lewel bench "$@" --json "$out/$name.json" 2>"$out/$name.err" | tee "$out/$name.txt" || tail -n 3 "$out/$name.err"
}
nvidia-smi --query-gpu=name,driver_version,power.limit --format=csv,noheader | tee "$out/gpu.txt"

# 2,000 images/s, and 1.3 times the one-file version with autocast and channels-last
bench step_lewel_b step --recipe lewel_b_in1k_100ep --batch-size 256 --switches
bench step_byol step --recipe byol_in1k_100ep --batch-size 256
bench step_moco_v2 step --recipe moco_v2_in1k_100ep --batch-size 256
bench step_lewel_m step --recipe lewel_m_in1k_100ep --batch-size 256
bench memory memory --recipe lewel_b_in1k_100ep --batch-size 256
bench cost cost --batch-size 256

# JPEGs from disk: at least 90 % of the speed with views ready
bench train train --recipe lewel_b_in1k_100ep --batch-size 256 --executors pillow tensor

# CIFAR-10, ResNet-18 with the small stem, heads 512 wide: share of the roofline, and images that live on the GPU
"$python" - "$out/cifar" <<'PY'
import pathlib, sys
import numpy as np

folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
rng = np.random.default_rng(0)
for number in range(1, 6):
    records = rng.integers(0, 256, (10_000, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    records.tofile(folder / f"data_batch_{number}.bin")
PY
bench step_cifar10 step --recipe lewel_b_cifar10 --hidden 512 --batch-size 512 --switches
bench train_cifar10 train --recipe lewel_b_cifar10 --hidden 512 --batch-size 512 --data "$out/cifar" --executors pillow tensor resident
rm -r "$out/cifar"
