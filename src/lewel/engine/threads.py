"""How many threads PyTorch's operations share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limited(count: int | None) -> Iterator[None]:
    """So many threads meanwhile; None: as many as before. Also a decorator."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
