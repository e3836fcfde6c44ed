"""A run directory back as a method, for pictures and comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch

from lewel import build, plan
from lewel.config import Recipe
from lewel.engine import checkpoint
from lewel.errors import UserError
from lewel.model.method import Method


class Loaded(NamedTuple):
    """trained: as in the newest whole checkpoint.  untrained: as the run began, from the same seed."""

    recipe: Recipe
    trained: Method
    untrained: Method


def load(run: Path) -> Loaded:
    """The method of a run on the CPU, trained and untrained.

    Raises UserError: no run there, or none of its checkpoints is whole.
    """
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"{run} is no run: it has no config.yaml; give the --run directory of `lewel pretrain`")
    recipe = plan.from_yaml(config.read_text(encoding="utf-8"))
    found, damages = checkpoint.newest_whole(run)
    if found is None:
        raise UserError(damages[0] if damages else f"{run} has no checkpoint yet; let `lewel pretrain` run on")
    seed = json.loads((found / "state.json").read_bytes())["identity"]["recipe"]["seed"]
    trained = build.method(recipe)
    trained.load_state_dict(safetensors.torch.load_file(found / "module.safetensors"))
    torch.manual_seed(seed)
    return Loaded(recipe, trained, build.method(recipe))
