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
from lewel.interop import weights
from lewel.model.method import Method

INITIAL = "initial.safetensors"  # the encoder that a run with --init began with


class Loaded(NamedTuple):
    """trained: as in the newest whole checkpoint.  initial: as the run began, from the same seed and `--init`."""

    recipe: Recipe
    trained: Method
    initial: Method


def load(run: Path) -> Loaded:
    """The method of a run on the CPU, trained and as it began.

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
    initial = build.method(recipe)
    if (run / INITIAL).exists():
        weights.initialise(initial, run / INITIAL)
    return Loaded(recipe, trained, initial)
