"""predictions.npz of a seed: what each image of val was taken for; counts over classes are made from it when wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lewel import reading
from lewel.engine import files
from lewel.errors import UserError

NAME = "predictions.npz"  # of the best evaluation, where there are several


def write(directory: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays by name: an outcome's, or `images`, `targets` and `predicted` of attributes."""
    save(directory / NAME, arrays)


def read(directory: Path, seed: int) -> dict[str, np.ndarray] | None:
    """Of a seed, in the directory of its results; None where there is no such file."""
    path = directory / f"seed-{seed}" / NAME
    return load(path) if path.is_file() else None


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  # its stubs take an option for an array
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> dict[str, np.ndarray]:
    """Raises UserError for a damaged file; nothing in it is unpickled."""
    try:
        with reading.open_regular(path) as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays}
    except Exception as error:  # of a damaged file, any: zipfile and the headers' tokenizer have their own
        raise UserError(
            f"{path} cannot be read: {reading.first_line(error)}; delete {path.parent}, and the same command measures "
            "it again"
        ) from error
