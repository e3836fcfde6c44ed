"""A run that is checked and built, before its first step."""

from __future__ import annotations

from pathlib import Path

import torch

from lewel import parallel
from lewel.config import Options
from lewel.console import Console
from lewel.data import scenes
from lewel.plan import Overrides
from lewel.run import prepare

TINY = Overrides(epochs=1, batch_size=8, encoder="test_resnet", image_size=64, hidden=16, dim=8, warmup_epochs=0)


def test_processes_begin_with_the_same_weights_and_draw_other_numbers(tmp_path: Path, monkeypatch) -> None:
    """Random maps, for one, are drawn by each process for its own images."""
    photos = scenes.make(tmp_path / "scenes", train=8, val=2, size=32)
    options = Options(str(photos), str(tmp_path / "run"), seed=5, device="cpu", precision="fp32", evaluate="none")
    weights, drawn = [], []
    for rank in range(3):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        method = prepare("byol_tiny", options, TINY, Console(quiet=True)).method
        weights.append(torch.cat([parameter.detach().flatten() for parameter in method.parameters()]))
        drawn.append(torch.rand(3).tolist())
    assert all(torch.equal(weights[0], other) for other in weights[1:])
    assert len({tuple(each) for each in drawn}) == 3
