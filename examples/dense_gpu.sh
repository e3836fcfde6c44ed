#!/usr/bin/env bash
# The dense tasks at the papers' size on one GPU: weights and the same network untrained, and a table of each task.
#
#   examples/dense_gpu.sh WEIGHTS OUT [VOCDEVKIT] [COCO] [300W]     - for data that is not there
#
# WEIGHTS: a run, or a file of weights. What was stopped goes on when this is started again; what is done is left alone.
set -euo pipefail
weights=${1:?usage: $0 WEIGHTS OUT [VOCDEVKIT] [COCO] [300W]}
out=${2:?usage: $0 WEIGHTS OUT [VOCDEVKIT] [COCO] [300W]}
voc=${3:--} coco=${4:--} faces=${5:--}

run() { # TASK DATA
    [ "$2" = - ] || lewel evaluate "$1" --weights "$weights" "random:$weights" --data "$2" --out "$out/$1" --precision bf16
}
run detect-voc-c4 "$voc"
run segment-voc "$voc"
run segment-voc-fcn16 "$voc"
run detect-coco-fpn "$coco"
run detect-coco-c4 "$coco"
run landmarks "$faces"
cat "$out"/*/table.md
