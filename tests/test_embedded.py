"""Training inside another program: in a thread, in a running event loop, as a notebook has one."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.heap
from concurrent.futures import ThreadPoolExecutor

import pytest

from lewel.config import Options
from lewel.data import scenes
from lewel.plan import Overrides
from lewel.pretrain import pretrain

TINY = Overrides(epochs=1, batch_size=16, encoder="test_resnet", image_size=64, hidden=16, dim=8, warmup_epochs=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=32, val=10, size=64)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """Trains in a new directory, and gives the encoder's bytes."""

    def train() -> bytes:
        run = tmp_path_factory.mktemp("run")
        options = Options(str(photos), str(run), device="cpu", precision="fp32", workers=1, evaluate="none")
        pretrain("byol_tiny", options, TINY)
        assert not multiprocessing.active_children()
        return (run / "encoder.safetensors").read_bytes()

    return train


@pytest.fixture(scope="module")
def expected(trained):
    return trained()


def test_in_a_thread(trained, expected) -> None:
    with ThreadPoolExecutor() as pool:
        assert pool.submit(trained).result() == expected


def test_in_a_running_event_loop(trained, expected) -> None:
    async def notebook() -> bytes:
        return trained()

    assert asyncio.run(notebook()) == expected


def test_without_dev_shm(trained, expected, monkeypatch) -> None:
    monkeypatch.setattr(multiprocessing.heap.Arena, "_dir_candidates", ["/nowhere"], raising=False)
    monkeypatch.setattr(multiprocessing.heap.BufferWrapper, "_heap", multiprocessing.heap.Heap())
    assert trained() == expected
