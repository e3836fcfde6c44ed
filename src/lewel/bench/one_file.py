"""The bench's yardstick, LEWEL_B as anybody would write it: `examples/lewel_in_one_file.py`; the wheel has a copy."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lewel.data.folder import Files
from lewel.errors import UserError

NAME = "lewel_in_one_file.py"


@cache
def load() -> ModuleType:
    """The file as a module. Raises UserError where neither the wheel nor the checkout has it."""
    here = Path(__file__).parent
    found = next((path for path in (here / NAME, here.parents[2] / "examples" / NAME) if path.is_file()), None)
    spec = importlib.util.spec_from_file_location("lewel_in_one_file", found) if found else None
    if spec is None or spec.loader is None:
        raise UserError(f"{NAME} is not there: install lewel with pip, or run in its checkout")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """The file's own data set, of these images. A worker that cannot import the file makes it anew."""

    def __init__(self, images: Files, size: int) -> None:
        self._made_of = images, size
        self._views = load().TwoViews(Path(images.root), size)
        self._views.paths = [Path(images.file(index)) for index in range(len(images))]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._views[index]


def seed_worker(worker: int) -> None:
    """The file's own."""
    load().seed_worker(worker)


_LAYERS = {"0": "hidden", "1": "norm", "3": "out"}
_TERMS = {"": "global", "_aligned": "aligned"}


def packaged(name: str) -> str:
    """The file's name of a tensor in the package's."""
    name = re.sub(r"^target\.", "target.branch.", name).replace(".encoder.", ".encoder.backbone.")
    name = re.sub(r"\.project(_aligned)?\.(\d)", lambda m: f".projectors.{_TERMS[m[1] or '']}.{_LAYERS[m[2]]}", name)
    return re.sub(r"^predict(_aligned)?\.(\d)", lambda m: f"predictors.{_TERMS[m[1] or '']}.{_LAYERS[m[2]]}", name)
