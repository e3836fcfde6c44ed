"""A run directory back as Python objects: its recipe, encoder, method and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors.torch
import torch
from torch import nn

from lewel import build
from lewel.config import Recipe
from lewel.engine import checkpoint
from lewel.errors import UserError
from lewel.interop import weights
from lewel.loggers import jsonl
from lewel.model.encoder import Encoder
from lewel.model.method import Method
from lewel.recipes import config_file

Trained = TypeVar("Trained", bound=nn.Module)
INITIAL = "initial.safetensors"  # the encoder that a run with --init began with


@dataclass(frozen=True)
class Run:
    """A run directory that `lewel pretrain` wrote. Each part is read when it is first used, and kept.

    directory: where the run lies.
    Reading a part raises UserError where the directory has none, or a damaged one.
    """

    directory: Path

    def check(self) -> Run:
        """The same. Raises UserError where no run is."""
        _ = self.recipe
        return self

    @cached_property
    def recipe(self) -> Recipe:
        """With every number of the run."""
        return config_file.of_run(self.directory)

    @cached_property
    def encoder(self) -> Encoder:
        """Images (b, 3, h, w) -> (b, c, h, w), in eval mode on the CPU, as at the newest checkpoint."""
        return weights.load_encoder(self.directory)

    @cached_property
    def method(self) -> nn.Module:
        """Encoder, heads and target as at the newest checkpoint, in train mode on the CPU."""
        with torch.random.fork_rng(devices=[]):
            return _at_newest(self.directory, build.method(self.recipe))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl: "step", and what was recorded there, such as "loss" or "knn/top1"."""
        return jsonl.read(self.directory / jsonl.NAME)


class Loaded(NamedTuple):
    """trained: as in the newest whole checkpoint.  initial: as the run began, from the same seed and `--init`."""

    recipe: Recipe
    trained: Method
    initial: Method


def load(run: Path) -> Loaded:
    """The method of a run on the CPU, trained and as it began.

    Raises UserError: no run there, one whose method is no sum of terms, or none of its checkpoints is whole.
    """
    recipe = config_file.of_run(run)
    trained = _at_newest(run, build.terms(recipe))
    torch.manual_seed(_seed(_newest(run)))
    initial = build.terms(recipe)
    if (run / INITIAL).exists():
        weights.initialise(initial, run / INITIAL)
    return Loaded(recipe, trained, initial)


def _at_newest(run: Path, method: Trained) -> Trained:
    """The method with the weights and the state of the run's newest checkpoint."""
    method.load_state_dict(safetensors.torch.load_file(_newest(run) / "module.safetensors"))
    return method


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
