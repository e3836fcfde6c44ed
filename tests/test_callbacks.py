"""What a run does after a step: saving beside the training."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from lewel import build, plan, recipes
from lewel.callbacks import Save
from lewel.engine import checkpoint, files
from lewel.engine.identity import Identity
from lewel.engine.loop import Step
from lewel.engine.optim import make_optimizer
from lewel.engine.state import Training
from lewel.errors import UserError


@pytest.fixture
def save(tmp_path: Path) -> Save:
    numbers = plan.Overrides(encoder="test_resnet", hidden=16, dim=8, queue=64)
    recipe = plan.resolve(recipes.get("lewel_m_tiny"), numbers, 5000).recipe
    method = build.method(recipe)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    training = Training(method, make_optimizer(method, recipe.optimizer), scaler)
    identity = Identity({"name": "test"}, epochs=1, processes=1)
    return Save(tmp_path, training, identity, method.online.encoder, {}, every=2, keep=2)


def step(number: int) -> Step:
    zero = torch.zeros(())
    return Step(number, 100, 0.1, True, False, zero, zero, [], None, 0, 0.0, 0.0)


def steps_kept(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_every_second_step_is_kept_with_its_encoder(save: Save, tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        save(step(number))
    save.close()
    assert steps_kept(tmp_path) == ["step-00000002", "step-00000004"]
    assert (tmp_path / "encoder.safetensors").is_file()


def test_a_full_disk_is_told_by_the_next_save(save: Save, tmp_path: Path, monkeypatch) -> None:
    save(step(2))
    save.background.finish()

    def full(path: Path, data: bytes) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_synced", full)
    save(step(4))
    with pytest.raises(UserError, match=r"step-00000004 not written \(No space left.*last good one is step-00000002"):
        save(step(6))
    save.close()
    assert steps_kept(tmp_path) == ["step-00000002"]
    found, damages = checkpoint.newest_whole(tmp_path)
    assert found is not None and found.name == "step-00000002" and not damages
