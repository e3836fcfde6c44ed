"""Labelled images of a few pixels, networks small enough for them, and jobs on both."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from command import lewel
from lewel.console import Console
from lewel.data.cifar import Pixels
from lewel.engine.precision import Precision
from lewel.evaluate.cache import FeatureCache
from lewel.evaluate.job import Job
from lewel.evaluate.parts import Divided, Labelled, divided
from lewel.evaluate.protocols import Protocol, Task
from lewel.evaluate.subject import Subject, digest
from lewel.interop import weights
from lewel.interop.weights import Account
from lewel.model.encoder import Encoder, Pooled

CPU = Precision(torch.device("cpu"), "fp32")
CLASSES = ("ant", "bee", "cow")
SIZE = 32
KNN = "knn-k20-t0.07"
HERE = ("--device", "cpu", "--workers", 0)
SHORT = ("--epochs", 2, "--batch-size", 6)


class Means(nn.Module):
    """The mean of each channel: of an image of one colour every crop has the same features."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def colours(n: int, seed: int, classes: int = 3, spread: int = 60) -> np.ndarray:
    """(n, 3) uint8: image i is of class i % classes, whose channel is brighter."""
    random = np.random.default_rng(seed)
    found = random.integers(60, 120, (n, 3))
    found[np.arange(n), np.arange(n) % classes] += random.integers(0, spread, n)
    return found.astype(np.uint8)


def planes(colour: np.ndarray, noise: int = 0) -> np.ndarray:
    """(n, SIZE, SIZE, 3) images of these colours."""
    whole = np.broadcast_to(colour[:, None, None], (len(colour), SIZE, SIZE, 3)).astype(int)
    return (whole + np.random.default_rng(len(colour)).integers(0, noise + 1, whole.shape)).astype(np.uint8)


def labelled(pixels: np.ndarray, labels: np.ndarray | None = None, names: tuple[str, ...] = CLASSES) -> Labelled:
    """Labels in turn, unless they are given; a row an image are attributes."""
    labels = np.arange(len(pixels)) % len(names) if labels is None else labels
    return Labelled(Pixels("here", pixels, None, None), labels, names)


def data(train: Labelled, val: Labelled) -> Divided:
    return divided("here", train, val, {"how": "given"})


def subject(network: nn.Module | None = None) -> Subject:
    """Of `Means`, or of an encoder."""
    network = Means() if network is None else network
    encoder = network if isinstance(network, Encoder) else None
    return Subject(
        "here",
        "little",
        network if encoder is None else Pooled(encoder),
        encoder,
        3 if encoder is None else encoder.map_shape(SIZE)[0],
        digest(network.state_dict()),
        SIZE,
        (0.4, 0.4, 0.4),
        (0.2, 0.2, 0.2),
        (),
        Account("here", 1),
    )


def encoder(name: str = "test_resnet") -> Encoder:
    torch.manual_seed(0)
    return Encoder(name)


def job(task: Task | Any, of: Subject, on: Divided, directory: Path, seed: int = 0, workers: int = 0) -> Job:
    directory.mkdir(parents=True, exist_ok=True)
    protocol = Protocol("little", task, "", "", SIZE)
    return Job(protocol, of, on, seed, directory, CPU, workers, Console(file=io.StringIO()), [], FeatureCache())


def folder(root: Path, train: int = 12, val: int = 6, classes: tuple[str, ...] = CLASSES) -> Path:
    """Class folders of noisy planes."""
    for part, count, seed in (("train", train, 0), ("val", val, 1)):
        pixels = planes(colours(count, seed, len(classes)), noise=40)
        for number, image in enumerate(pixels):
            path = root / part / classes[number % len(classes)] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return root


def encoder_file(path: Path, seed: int = 0, name: str = "test_resnet") -> Path:
    """An encoder for images of SIZE."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.save_encoder(Encoder(name), path, {"image_size": SIZE, "mean": (0.4,) * 3, "std": (0.2,) * 3})
    return path


def evaluate(task: str, weights: Any, images: Any, out: Path, *more: Any) -> int:
    """The exit code of the command."""
    each = weights if isinstance(weights, tuple) else (weights,)
    return lewel("evaluate", task, "--weights", *each, "--data", images, "--out", out, *HERE, *more)


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    (line,) = capsys.readouterr().err.splitlines()
    return line
