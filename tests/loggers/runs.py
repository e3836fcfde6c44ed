"""A small run that is stopped after its second step and gone on with, with loggers beside metrics.jsonl."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from command import lewel
from lewel import callbacks
from lewel.data import scenes

FLAGS = ["--encoder", "test_resnet", "--image-size", "64", "--batch-size", "16", "--hidden", "16", "--dim", "8"]
FLAGS += ["--epochs", "2", "--warmup-epochs", "0", "--workers", "0", "--device", "cpu", "--precision", "fp32"]
FLAGS += ["--log-every", "1", "--evaluate", "none"]


def make_photos(folder: Path) -> Path:
    """32 images to train on: two steps an epoch."""
    return scenes.make(folder / "scenes", train=32, val=10, size=64)


def pretrain(photos: Path, run: Path, *log: str) -> int:
    """Four steps. Returns the exit code."""
    return lewel("pretrain", "byol_tiny", "--data", photos, "--out", run, *FLAGS, *(f"--logger={text}" for text in log))


def stop_after_two_steps(patch: pytest.MonkeyPatch) -> None:
    """SIGTERM after the first step; the run ends after the next one, with a checkpoint."""
    real = callbacks.Report.__call__

    def call(self, step) -> None:
        real(self, step)
        if step.number == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(callbacks.Report, "__call__", call)
