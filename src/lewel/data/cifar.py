"""CIFAR-10's binary files: images that lie in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from lewel.data.decode import printable
from lewel.data.names import from_os
from lewel.data.splits import Split
from lewel.errors import UserError

_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass(frozen=True)
class Pixels:
    """Images that lie in memory: `pixels` (n, h, w, 3) uint8."""

    root: str
    pixels: np.ndarray
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def unlabelled(self) -> str:
        return "" if self.labels is not None else f"no labels in {printable(self.root)}"

    def path(self, index: int) -> str:
        return f"{from_os(self.root)}#{index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def rgbx(self, index: int) -> np.ndarray:
        return np.array(self.read(index).convert("RGBX"))

    def subset(self, indices: np.ndarray) -> Pixels:
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, pixels=self.pixels[indices], labels=labels)

    def digest(self) -> str:
        return hashlib.sha256(self.pixels.data).hexdigest()


def cifar_folder(where: Path) -> Path | None:
    """The folder of CIFAR-10's binary version, or None. Raises UserError for its pickled version."""
    for folder in (where, where / "cifar-10-batches-bin"):
        if any(file.is_file() for file in folder.glob("data_batch_*.bin")) or (folder / "test_batch.bin").is_file():
            return folder
    for folder in (where, where / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            raise UserError(
                f"--data {printable(where)} is CIFAR-10's Python version: pickles can run code and are not read; "
                "use its binary version (data_batch_*.bin, test_batch.bin)"
            )
    return None


def open_cifar(folder: Path, split: Split | None) -> Pixels:
    """The images of data_batch_*.bin, or of test_batch.bin. Raises UserError for files that are not CIFAR-10's."""
    files = [folder / "test_batch.bin"] if split == "val" else sorted(folder.glob("data_batch_*.bin"))
    if not files or not all(file.is_file() for file in files):
        wanted = "test_batch.bin" if split == "val" else "data_batch_*.bin"
        raise UserError(f"--data {printable(folder)}: no images found; looked for CIFAR-10's {wanted}")
    records = np.concatenate([_records(file) for file in files])
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    name = files[0].name if split == "val" else "data_batch_*.bin"
    labels = records[:, 0].astype(np.int64)
    return Pixels(str(folder / name), np.ascontiguousarray(pixels), labels, list(_CLASSES))


def _records(file: Path) -> np.ndarray:
    size = file.stat().st_size
    if size == 0 or size % _RECORD:
        raise UserError(f"{printable(file)}: not a CIFAR-10 binary file: {size} bytes, no multiple of {_RECORD}")
    records = np.fromfile(file, dtype=np.uint8).reshape(-1, _RECORD)
    if records[:, 0].max() >= len(_CLASSES):
        raise UserError(f"{printable(file)}: not a CIFAR-10 binary file: it has labels above 9")
    return records
