"""Tests here can import what lies beside this file; and what `lewel evaluate` needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import little


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return little.encoder_file(tmp_path_factory.mktemp("weights") / "mine.safetensors")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return little.folder(tmp_path_factory.mktemp("images"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
