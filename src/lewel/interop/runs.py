"""A run directory back as a method, for pictures and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch

from lewel import build
from lewel.config import Recipe
from lewel.engine import checkpoint
from lewel.errors import UserError
from lewel.interop import weights
from lewel.model.method import Method
from lewel.recipes import config_file

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
    recipe = config_file.of_run(run)
    found = _newest(run)
    trained = build.method(recipe)
    trained.load_state_dict(safetensors.torch.load_file(found / "module.safetensors"))
    torch.manual_seed(_seed(found))
    initial = build.method(recipe)
    if (run / INITIAL).exists():
        weights.initialise(initial, run / INITIAL)
    return Loaded(recipe, trained, initial)


class Beginning(NamedTuple):
    """The encoder that a run began with: a source for `weights.load`, and the seed where it is an untrained one."""

    source: str
    seed: int | None


def beginning(run: Path) -> Beginning | None:
    """None where the directory does not tell: it is no run, or has no whole checkpoint."""
    if (run / INITIAL).is_file():
        return Beginning(str(run / INITIAL), None)
    found, _ = checkpoint.newest_whole(run) if (run / config_file.NAME).is_file() else (None, [])
    return Beginning(f"random:{run}", _seed(found)) if found is not None else None


def _newest(run: Path) -> Path:
    found, damages = checkpoint.newest_whole(run)
    if found is None:
        raise UserError(damages[0] if damages else f"{run} has no checkpoint yet; let `lewel pretrain` run on")
    return found


def _seed(found: Path) -> int:
    """Of the run that a checkpoint is of."""
    return checkpoint.read_state(found)["identity"]["recipe"].get("seed", 0)
