"""Any module trains: examples/own_method.py through the command line, stopped, gone on with, evaluated, exported."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import torch
from torch import nn

from command import lewel
from lewel import Encoder, Recipe, UserError, build, config, load_encoder, recipes
from lewel.data import scenes
from lewel.plan import Overrides, numbers, resolve

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_method.py"
FLAGS = ["--encoder", "test_resnet", "--hidden", "32", "--dim", "16", "--batch-size", "8"]
HOW = ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--evaluate", "none", "--save-every", "2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("scenes") / "images", train=16, val=6, size=64)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of two steps."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert (
        lewel("pretrain", f"{EXAMPLE}:barlow_twins", "--data", images, "--out", out, *FLAGS, *HOW, "--epochs", "3") == 0
    )
    return out


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_its_run_is_a_run_like_any(whole: Path, images: Path, tmp_path: Path) -> None:
    last = rows(whole)[-1]
    assert last["step"] == 6 and {"loss/twins", "spread/twins", "rankme", "verdict"} <= set(last)
    assert f"kind: {EXAMPLE}:BarlowTwins" in (whole / "config.yaml").read_text()
    assert "own_method.py:BarlowTwins" in (whole / "report.html").read_text()
    recipe = recipes.get(str(whole))
    assert (recipe.method.hidden, recipe.method.dim, recipe.method.encoder.name) == (32, 16, "test_resnet")
    out = ["--data", images, "--out", tmp_path / "e", "--workers", "0", "--device", "cpu"]
    assert lewel("evaluate", "knn-k20-t0.07", "--weights", whole, *out) == 0
    assert lewel("export", "--weights", whole, "--to", "timm", "--out", tmp_path / "e.pth") == 0


def test_it_goes_on_to_the_bit(whole: Path, images: Path, tmp_path: Path) -> None:
    """From a copy whose last checkpoint is gone, by its own directory."""
    run = Path(copytree(whole, tmp_path / "run"))
    rmtree(run / "checkpoints" / "step-00000006")
    assert lewel("pretrain", run, "--data", images, "--out", run, *HOW) == 0
    assert "going on at step 4 of 6" in (run / "train.log").read_text()
    one, two = (load_encoder(each).state_dict() for each in (whole, run))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_has_no_maps_says_so(whole: Path, images: Path, tmp_path: Path, capsys) -> None:
    assert lewel("maps", "--run", whole, "--data", images, "--out", tmp_path / "maps.png") == 2
    assert "the method of barlow_twins is no sum of terms" in " ".join(capsys.readouterr().err.split())


def test_its_fields_are_its_flags() -> None:
    recipe = recipes.get(f"{EXAMPLE}:barlow_twins")
    shown = numbers(recipe)
    assert (shown["hidden"], shown["dim"], shown["encoder"]) == ("512", "512", "resnet18")
    assert not {"momentum", "queue", "groups", "beta", "temperature", "bn_groups"} & set(shown)
    with pytest.raises(UserError, match="--momentum has no effect on barlow_twins"):
        resolve(recipe, Overrides(momentum=0.9), 1000)


@dataclass(frozen=True)
class Wrong:
    encoder: config.Encoder
    has_encoder: bool = False

    def build(self, recipe: Recipe) -> nn.Module | int:
        return nn.Linear(2, 2) if self.has_encoder else 3


@pytest.mark.parametrize(("has_encoder", "message"), [(False, "no nn.Module"), (True, "must be a lewel.Encoder")])
def test_a_build_that_gives_something_else_is_refused(has_encoder: bool, message: str) -> None:
    recipe = replace(recipes.lewel_b_tiny(), method=Wrong(config.Encoder("test_resnet"), has_encoder))
    with pytest.raises(UserError, match=message):
        build.method(recipe)


class Hooked(nn.Module):
    """Notes every call."""

    takes_indices = True

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder("test_resnet")
        self.calls: list[object] = []
        self.register_buffer("mean", torch.zeros(self.encoder.backbone.num_features))

    def on_epoch_start(self, epoch, features) -> None:
        found, indices = features(nn.Sequential(self.encoder, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        assert indices.tolist() == list(range(16))
        self.mean.copy_(found.mean(dim=0))
        self.calls.append(f"epoch {epoch}")

    def before_step(self, step: int, total: int) -> None:
        self.calls.append(f"before {step} of {total}")

    def forward(self, *views, indices=None):
        self.calls.append(sorted(indices.tolist()))
        loss = (self.encoder(views[0].pixels).mean(dim=(2, 3)) - self.mean).square().mean()
        return loss, {}

    def before_update(self, step: int) -> None:
        assert all(p.grad is not None for p in self.parameters() if p.requires_grad)
        self.calls.append(f"update {step}")

    def after_step(self, *outs) -> None:
        self.calls.append(f"after {len(outs)}")


MADE: list[Hooked] = []


@dataclass(frozen=True)
class Hooks:
    encoder: config.Encoder

    def build(self, recipe: Recipe) -> nn.Module:
        MADE.append(Hooked())
        return MADE[-1]


def hooked() -> Recipe:
    return replace(recipes.byol_tiny(), name="hooked", method=Hooks(config.Encoder("test_resnet")))


def test_every_hook_is_called_in_its_place(images: Path, tmp_path: Path) -> None:
    """Two epochs of two steps of two micro-batches."""
    source = tmp_path / "hooks.py"
    source.write_text(Path(__file__).read_text())
    flags = ["--batch-size", "8", "--epochs", "2", "--warmup-epochs", "0", "--accumulate", "2", *HOW]
    assert lewel("pretrain", f"{source}:hooked", "--data", images, "--out", tmp_path / "run", *flags) == 0
    made = type(recipes.get(f"{source}:hooked").method).build.__globals__["MADE"][0]
    calls = [call for call in made.calls if isinstance(call, str)]
    steps = [[f"before {i} of 4", f"update {i}", "after 2"] for i in range(4)]
    assert calls == ["epoch 0", *steps[0], *steps[1], "epoch 1", *steps[2], *steps[3]]
    seen = [call for call in made.calls if not isinstance(call, str)]
    assert [len(call) for call in seen] == [4] * 8
    for epoch in (seen[:4], seen[4:]):
        assert sorted(index for call in epoch for index in call) == list(range(16)), "each image once an epoch"
