"""A run of an earlier commit is loaded, evaluated, exported, looked at and resumed.

tests/runs/lewel_m_03b5916.tar.xz holds a run of commit 03b5916, as a kill after step 6 of 6 left it, and its images:

    lewel pretrain lewel_m_tiny --data photos --run run --encoder test_resnet --batch-size 8 --epochs 2 --hidden 16
        --dim 8 --queue 16 --warmup-epochs 0 --workers 0 --device cpu --precision fp32 --save-every 3 --log-every 1

That commit wrote all of it. Before its last steps, the weights in the checkpoint of step 3 were rounded to two bits of
mantissa, so that the file is small; metrics.jsonl has the losses that the commit itself then reached.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import lewel as package
from command import lewel
from lewel import checked, config, recipes, terms
from lewel.engine import checkpoint
from lewel.interop import runs
from lewel.loggers import jsonl

ARCHIVE = Path(__file__).parent / "runs" / "lewel_m_03b5916.tar.xz"
FLAGS = ["--encoder", "test_resnet", "--batch-size", "8", "--epochs", "2", "--hidden", "16", "--dim", "8"]
FLAGS += ["--queue", "16", "--warmup-epochs", "0"]
HOW = ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--save-every", "3", "--log-every", "1"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def run(kept: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(kept / "run", tmp_path / "run"))


def resume(recipe: object, kept: Path, run: Path, *flags: str) -> int:
    return lewel("pretrain", recipe, "--data", kept / "photos", "--out", run, *HOW, *flags)


def rows(run: Path) -> list[dict[str, float]]:
    """Without what depends on the machine."""
    return [
        {name: row[name] for name in ("step", "loss", "lr", "spread/aligned", "knn/top1") if name in row}
        for row in jsonl.read(run / "metrics.jsonl")
    ]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a refusal."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lewel: ")]
    return line


def change_state(run: Path, **recipe: object) -> None:
    """Write the run's checkpoint anew with other fields in its recipe."""
    (path,) = (run / "checkpoints").glob("step-*")
    parts = {each.name: each.read_bytes() for each in path.iterdir() if each.name != checkpoint.MANIFEST}
    state = json.loads(parts["state.json"])
    state["identity"]["recipe"] |= recipe
    shutil.rmtree(path)
    checkpoint.write(checkpoint.Content(path, parts | {"state.json": json.dumps(state).encode()}, keep=2))


def test_the_run_is_from_before_there_were_format_numbers(kept: Path) -> None:
    assert "format" not in (kept / "run" / "config.yaml").read_text()
    assert [row["step"] for row in rows(kept / "run") if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in (kept / "run" / "checkpoints").iterdir()] == ["step-00000003"]


def test_it_goes_on_as_it_went_on_then(kept: Path, run: Path) -> None:
    assert resume("lewel_m_tiny", kept, run, *FLAGS) == 0
    then, now = rows(kept / "run"), rows(run)
    assert [row.keys() for row in now] == [row.keys() for row in then]
    for before, after in zip(then, now, strict=True):
        assert after == pytest.approx(before, rel=1e-4)
    assert "going on at step 3 of 6" in (run / "train.log").read_text()


def test_its_directory_is_a_recipe(kept: Path, run: Path, tmp_path: Path) -> None:
    """Its own flags are in it: nothing has to be typed again to go on, nor to start another run."""
    assert resume(run, kept, run) == 0
    assert rows(run)[-1] == pytest.approx(rows(kept / "run")[-1], rel=1e-4)
    assert resume(run / "config.yaml", kept, tmp_path / "another", "--epochs", "1") == 0
    assert recipes.get(str(tmp_path / "another")) == replace(recipes.get(str(run)), epochs=1)
    assert lewel("views", run, "--data", kept / "photos", "--out", tmp_path / "views.png", "--images", "2") == 0


def test_it_loads(kept: Path) -> None:
    loaded = runs.load(kept / "run")
    assert (loaded.recipe.name, loaded.recipe.epochs, loaded.recipe.method.encoder.name) == (
        *("lewel_m_tiny", 2, "test_resnet"),
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    trained = loaded.trained.online.encoder.eval()(images)
    assert torch.equal(trained, package.load_encoder(kept / "run").eval()(images))
    assert not torch.allclose(trained, loaded.initial.online.encoder.eval()(images))


def test_it_is_evaluated(kept: Path, tmp_path: Path) -> None:
    flags = ["--weights", kept / "run", "--data", kept / "photos", "--out", tmp_path / "e", "--workers", "0"]
    assert lewel("evaluate", "knn-k20-t0.07", *flags, "--device", "cpu") == 0
    metrics = json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]
    assert (metrics["top1"], metrics["top5"]) == (12.5, 62.5)  # of 8 images, as the commit itself measured


def test_it_is_exported_compared_and_looked_at(kept: Path, tmp_path: Path) -> None:
    run = kept / "run"
    assert lewel("export", "--weights", run, "--to", "timm", "--out", tmp_path / "e.pth") == 0
    assert lewel("compare", run, run, "--out", tmp_path / "c.png") == 0
    assert lewel("maps", "--run", run, "--data", kept / "photos", "--out", tmp_path / "m.png") == 0


@dataclass(frozen=True)
class Longer(config.Encoder):
    """The encoder's config of a later version."""

    tokens: int = 0


def test_a_new_field_leaves_it_readable_and_resumable(
    kept: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipes.get(str(run))
    newer = replace(recipe, method=replace(recipe.method, encoder=Longer(**vars(recipe.method.encoder))))
    monkeypatch.setattr(terms.method, "Encoder", Longer)
    checked.hints.cache_clear()
    assert recipes.get(str(run)) == newer
    assert resume(run, kept, run) == 0
    state = next((run / "checkpoints").glob("step-*6")) / "state.json"
    assert json.loads(state.read_text())["identity"]["recipe"]["method"]["encoder"]["tokens"] == 0
    monkeypatch.undo()
    checked.hints.cache_clear()
    assert resume("lewel_m_tiny", kept, run, *FLAGS) == 2  # this lewel does not know the field
    assert "unknown key 'tokens'; pip install --upgrade lewel" in last_line(capsys)


def test_a_field_that_it_does_not_know_is_refused_in_one_line(kept: Path, run: Path, tmp_path: Path, capsys) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text() + "tokens: 3\n")
    data = ["--data", kept / "photos", "--out", tmp_path / "out.png"]
    for command in (["views", run, *data], ["maps", "--run", run, *data], ["compare", run, *data[2:]]):
        capsys.readouterr()
        assert lewel(*command) == 2
        assert f"{config}: unknown key 'tokens'; pip install --upgrade lewel" in last_line(capsys)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 3}, "the recipe in the run's checkpoint: unknown key 'tokens'; pip install --upgrade lewel"),
        ({"format": 99}, "was written by a newer lewel: format 99"),
        ({"queue_share": 0.5}, "holds a run of another recipe (queue_share 0.5 -> None)"),
    ],
)
def test_a_checkpoint_of_another_lewel_or_recipe_is_refused_in_one_line(kept, run, change, message, capsys) -> None:
    change_state(run, **change)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file())
    assert resume("lewel_m_tiny", kept, run, *FLAGS) == 2
    assert message in last_line(capsys)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()) == before
