"""Weights and images for files that go to other tools and come from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lewel.interop import weights
from lewel.model.encoder import Encoder

FACTS = {"recipe": "test", "image_size": 64, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


def _saved(path: Path, name: str, stem: str = "imagenet") -> str:
    """A file of an encoder all of whose tensors differ from where they start, and from one another."""
    torch.manual_seed(0)
    encoder = Encoder(name, stem)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.rand_like(parameter))
        encoder.train()(torch.randn(2, 3, 64, 64))
    weights.save_encoder(encoder, path, FACTS)
    return str(path)


@pytest.fixture(scope="session")
def saved() -> Callable[..., str]:
    return _saved


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (70, 90, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(tmp_path_factory.mktemp("weights") / "encoder.safetensors", "resnet18")
