"""The campaigns of docs/reliability.md: what they compare and fit, and with --slow a little of each."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the campaigns read /proc")
FOLDER = Path(__file__).parents[1] / "benchmarks" / "reliability"
sys.path.append(str(FOLDER))


def test_a_slope_and_its_interval_are_those_of_a_line_with_noise_that_lasts() -> None:
    from soak import slope

    seconds = np.arange(0, 1800, 2.0)
    generator = np.random.default_rng(0)
    lasting = np.repeat(generator.normal(0, 3, 30), 30)  # a minute each
    flat, rising = slope(seconds, 500 + lasting), slope(seconds, 500 + lasting + 40 * seconds / 3600)
    assert flat.low < 0 < flat.high and rising.low < 40 < rising.high
    assert rising.per_hour == pytest.approx(flat.per_hour + 40)
    as_if_independent = slope(seconds, 500 + lasting, block_s=2)
    assert flat.high - flat.low > 2 * (as_if_independent.high - as_if_independent.low)


def test_runs_are_compared_without_times_and_what_is_left_behind_is_named(tmp_path: Path) -> None:
    import traces

    rows = [{"step": 1, "loss": 2.0, "images_per_s": 10.0}, {"step": 2, "loss": 1.0, "evaluate_s": 3.0}]
    for name in ("unbroken", "run"):
        folder = tmp_path / name / "checkpoints" / "step-00000002"
        folder.mkdir(parents=True)
        (folder / "module.safetensors").write_bytes(b"weights")
        (tmp_path / name / f"events.out.tfevents.{name}").touch()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rows[0]["images_per_s"] = 12.0
    expected, run = traces.finished(tmp_path / "unbroken"), tmp_path / "run"
    assert traces.differences(expected, traces.finished(run)) == [] and not traces.is_writing(run, 0)
    (run / ".encoder.safetensors.12.tmp").touch()
    (run / "checkpoints" / "step-00000002" / "module.safetensors").write_bytes(b"others")
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().replace("2.0", "2.1"))
    assert traces.differences(expected, traces.finished(run)) == [
        "left behind: .encoder.safetensors.12.tmp",
        "differs: checkpoints/step-00000002/module.safetensors",
        "differs: metrics.jsonl",
    ]
    assert traces.is_writing(run, 0) and traces.phase(run, 0) == "while a file was written"
    assert not traces.is_writing(run, os.path.getmtime(run / ".encoder.safetensors.12.tmp"))


def test_every_kind_of_damage_changes_the_file() -> None:
    from damage import KINDS

    whole = random.Random(1).randbytes(3000)
    for kind in KINDS:
        for seed in range(20):
            assert kind(random.Random(seed), whole, b"other") != whole, kind.__name__


def test_the_scenarios_have_all_methods_sources_and_ways_to_run() -> None:
    from scenarios import EVALUATIONS, PRETRAINING

    from lewel import recipes

    assert {f"{each.method}_tiny" for each in PRETRAINING} == {name for name in recipes.names() if "_tiny" in name}
    assert {each.source for each in PRETRAINING} == {"folder", "index", "shards"}
    assert {each.workers for each in PRETRAINING} == {0, 1, 2}
    assert {(each.accumulate, each.processes) for each in PRETRAINING} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert {task for task, *_ in EVALUATIONS} == {"linear-byol", "semi", "segment-voc", "landmarks"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("kills.py", "--kills", "2", "--only", "lewel_m, folder, 0"),
        ("signals.py", "--signals", "1"),
        ("damage.py", "--files", "40"),
        ("disk.py", "--sizes", "1"),
        ("hostile.py",),
        ("soak.py", "--minutes", "0.3"),
    ],
    ids=lambda command: command[0],
)
def test_a_little_of_a_campaign_finds_nothing(command: tuple[str, ...], tmp_path: Path) -> None:
    script, *more = command
    words = [sys.executable, str(FOLDER / script), "--work", str(tmp_path / "work"), "--out", str(tmp_path), *more]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    if "no user namespaces here" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert not found.get("faults") and found["machine"]["torch"]
