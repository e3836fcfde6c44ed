"""What survives a power cut, watched at the system calls.

A rename may reach the disk before bytes that were not synced, so files are synced before a rename shows them. Nothing
is deleted before the directory of its replacement is synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lewel.console import Console
from lewel.engine import checkpoint, files
from lewel.engine.identity import Identity
from lewel.engine.precision import Precision
from lewel.engine.state import Training
from lewel.evaluate import predictions
from lewel.interop import weights
from lewel.model.encoder import Encoder
from lewel.prepare.commands import pack

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no call that syncs a directory")


class Disk:
    """Watches os.fsync and the renames; `faults` says what a power cut could take."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.synced: dict[int, tuple[int, int]] = {}  # by inode: as it was when it was last on the disk
        self.waiting: dict[int, str] = {}  # by the directory's inode: a name that is not on the disk yet
        self.faults: list[str] = []
        self.shown: list[str] = []
        patch.setattr(os, "fsync", partial(self._fsync, os.fsync))
        patch.setattr(os, "rename", partial(self._rename, os.rename))
        patch.setattr(os, "replace", partial(self._rename, os.replace))

    def _fsync(self, fsync: Callable[[int], None], handle: int) -> None:
        fsync(handle)
        status = os.fstat(handle)
        self.synced[status.st_ino] = as_it_is(status)
        self.waiting.pop(status.st_ino, None)

    def _rename(self, rename: Callable[[Any, Any], None], source: Any, target: Any) -> None:
        old, new = Path(source), Path(target)
        directory = new.parent.stat().st_ino
        if new.name.startswith(".tmp"):  # put aside, to be deleted
            self.faults += [f"{old.name} goes before {name} is there" for name in self.waiting.values()]
            return rename(source, target)
        parts = [old, *(old.rglob("*") if old.is_dir() else ())]
        lost = [part.name for part in parts if self.synced.get(part.stat().st_ino) != as_it_is(part.stat())]
        self.faults += [f"{new.name} is there before the content of {name} is" for name in lost]
        rename(source, target)
        self.shown.append(new.name)
        self.waiting[directory] = new.name

    def all_is_there(self, *names: str) -> bool:
        """Whether these were renamed, in order, and nothing of it can be lost."""
        assert self.faults == [] and self.waiting == {}
        return self.shown == list(names)


def as_it_is(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_checkpoint_is_on_the_disk_before_the_one_before_it_goes(tmp_path: Path, disk: Disk) -> None:
    module = nn.Linear(2, 2)
    scaler = Precision(torch.device("cpu"), "fp32").scaler()
    training = Training(module, torch.optim.SGD(module.parameters(), 0.1, momentum=0.9), scaler)
    for step in (1, 2, 3):
        content = checkpoint.prepare(tmp_path, step, training, Identity({}, 1, 1), keep=1)
        assert content is not None
        checkpoint.write(content)
    assert disk.all_is_there("step-00000001", "step-00000002", "step-00000003")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_files_are_on_the_disk_before_they_take_the_place_of_others(tmp_path: Path, disk: Disk) -> None:
    for content in (b"old", b"new"):
        files.replace(tmp_path / "a.json", content)
    predictions.write(tmp_path, {"images": np.arange(3)})
    weights.save_encoder(Encoder("test_resnet"), tmp_path / "encoder.safetensors", {})
    assert disk.all_is_there("a.json", "a.json", predictions.NAME, "encoder.safetensors")


def test_shards_are_on_the_disk_before_their_index(tmp_path: Path, disk: Disk) -> None:
    for number in range(6):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(3000))
    pack(str(tmp_path / "data"), tmp_path / "shards", 10240, 1, Console(quiet=True))
    names = [path.name for path in sorted((tmp_path / "shards").glob("*.tar"))]
    assert len(names) > 1 and disk.all_is_there(*names, "shards.safetensors")


def test_the_watch_sees_what_was_not_synced(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.replace(tmp_path / "a", tmp_path / "b")
    os.rename(tmp_path / "b", tmp_path / ".tmp-b")
    assert disk.faults == ["b is there before the content of a is", "b goes before b is there"]
    assert disk.waiting and disk.shown == ["b"]
