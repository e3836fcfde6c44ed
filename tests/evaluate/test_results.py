"""Results: means and spread by hand, and files that other programs read back without loss."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lewel.errors import UserError
from lewel.evaluate import predictions, results
from lewel.evaluate.results import Result, Run, summarise


class Facts:
    """Stands for a protocol or weights."""

    def __init__(self, **content: Any) -> None:
        self.content = content

    def facts(self) -> dict[str, Any]:
        return self.content


def a_run(seed: int, **metrics: Any) -> Run:
    data = {"data": "images", "train": {"images": 8, "digest": "t"}, "val": {"images": 4, "digest": "v"}}
    return Run(
        seed,
        f"w{seed}",
        data,
        metrics,
        1.5,
        "fp32",
        "cpu",
        [{"path": "a.jpg", "reason": "empty"}],
        results.versions(),
        3,
        {},
    )


def a_result(*runs: Run, label: str = "mine", protocol: str = "knn-k20-t0.07", deterministic: bool = False) -> Result:
    facts = Facts(name=protocol, image_size=64, digest="p")
    return summarise(label, facts, Facts(architecture="resnet18", digest="w"), runs, deterministic)


def strict(text: str | bytes) -> Any:
    """JSON as the standard has it: without NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_means_and_spread() -> None:
    """10, 20, 60: the mean is 30, the squared distances 400 + 100 + 900 over n - 1 = 2."""
    found = a_result(*(a_run(seed, top1=top1, top5=50.0) for seed, top1 in enumerate((10.0, 20.0, 60.0))))
    assert found.metrics == {"top1": 30.0, "top5": 50.0}
    assert found.std == {"top1": pytest.approx(math.sqrt(700)), "top5": 0.0}


def test_one_seed_has_no_spread() -> None:
    found = a_result(a_run(0, top1=12.5, chosen=3))
    assert found.metrics == {"top1": 12.5, "chosen": 3} and found.std == {}


def test_what_is_no_single_number() -> None:
    """Dicts and lists are averaged within; settings that all seeds share stay as they are."""
    runs = [
        a_run(
            seed,
            per_class={"a": 10.0 * seed, "b": None},
            confusion=[[seed, 0], [1, 2]],
            grid=[{"lr": 0.1, "top1": float(seed)}],
            solver="lbfgs",
        )
        for seed in range(3)
    ]
    assert a_result(*runs).metrics == {
        "per_class": {"a": 10.0, "b": None},
        "confusion": [[1.0, 0], [1, 2]],
        "grid": [{"lr": 0.1, "top1": 1.0}],
        "solver": "lbfgs",
    }
    assert a_result(*runs).std == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_is_not_known_for_a_seed_has_no_mean(value: float | None) -> None:
    found = a_result(a_run(0, top1=50.0, top5=80.0), a_run(1, top1=value, top5=90.0))
    assert found.metrics == {"top1": None, "top5": 85.0}
    assert set(found.std) == set(found.numbers()) == {"top5"}


def test_results_json_holds_everything(tmp_path: Path) -> None:
    runs = [a_run(s, top1=50.0 + s, confusion=[[3, 1], [s, 4]], per_class={"a": math.nan}) for s in range(2)]
    results.write(tmp_path, a_result(*runs))
    text = (tmp_path / "results.json").read_text()
    read = strict(text)
    own = {"format", "protocol", "weights", "data", "seeds", "versions"}
    assert set(read) == own | {"metrics", "std", "intervals", "deterministic"} and read["format"] == results.FORMAT
    assert read["metrics"] == {"top1": 50.5, "confusion": [[3, 1], [0.5, 4]], "per_class": {"a": None}}
    assert read["std"] == {"top1": pytest.approx(math.sqrt(0.5), abs=1e-15)}
    for run, seed in zip(runs, read["seeds"], strict=True):
        assert seed["metrics"] == run.metrics | {"per_class": {"a": None}}
        assert (seed["seed"], seed["weights"], seed["skipped"]) == (run.seed, run.weights, run.skipped)
        assert seed["data"] == results.data_digest(read["data"])
    assert {"lewel", "torch", "timm", "python", "machine"} <= set(read["versions"])
    assert "[ 3, 1 ]" in text  # a row of the matrix has one line


def test_lists_of_names_keep_what_is_in_them(tmp_path: Path) -> None:
    """Rows of numbers are put on one line; text that looks like one is left alone."""
    names = ["[1,   2]", 'a "b"  c', "{ }", "[\n1,  2\n]"]
    results.write(tmp_path, a_result(a_run(0, names=names)))
    assert strict((tmp_path / "results.json").read_text())["metrics"]["names"] == names


def test_predictions_with_a_damaged_header_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    predictions.save(path, {"predicted": np.arange(3)})
    with zipfile.ZipFile(
        path, "w"
    ) as archive:  # the header's tuple does not end: Python's tokenizer raises its own error
        line = b"{'descr': '<i8', 'shape': (".ljust(117) + b"\n"
        archive.writestr("predicted.npy", b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line)
    with pytest.raises(UserError, match=r"predictions\.npz cannot be read: .*; delete") as caught:
        predictions.load(path)
    assert "\n" not in str(caught.value)


def test_the_datas_digest_is_of_its_parts_wherever_they_lie() -> None:
    facts = {"data": "/a", "val": {"digest": "v"}, "train": {"digest": "t", "from": "/a/train"}}
    expected = hashlib.sha256(b'{"train": "t", "val": "v"}').hexdigest()
    assert results.data_digest(facts) == results.data_digest({**facts, "data": "/b"}) == expected
    assert results.data_digest({**facts, "subset": {"digest": "s"}}) != expected


@pytest.mark.parametrize(
    ("name", "told", "percent", "lower"),
    [
        ("NME_common", "NME, common", True, True),
        ("NME", "NME", True, True),
        ("failure_rate", "failures", True, True),
        ("AUC", "AUC", True, False),
        ("AP50_mask", "AP50, masks", True, False),
        ("k", "k", False, False),
    ],
)
def test_what_metrics_are_called_and_which_way_is_better(name: str, told: str, percent: bool, lower: bool) -> None:
    assert (results.title(name), results.is_percent(name), results.is_better_lower(name)) == (told, percent, lower)
