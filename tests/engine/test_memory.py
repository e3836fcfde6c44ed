"""A second block of the same size takes no fresh pages, and the peak is the largest sum of blocks."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lewel.engine import memory
from lewel.errors import UserError

FAULTS = """
import resource, sys
from lewel.engine import memory
if sys.argv[1] == "keep": assert memory.keep_freed()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
block = bytearray(50_000_000); del block
before = faults()
for _ in range(10): block = bytearray(50_000_000); del block
print(faults() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_is_taken_again() -> None:
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("give", "keep")
    )
    assert kept < 100 < 10_000 < given_back  # 10 blocks of 12,207 pages of 4 KiB


PEAKS = """
from lewel.engine import memory
before = memory.peak_bytes()
block = b"x" * 300_000_000; held = memory.peak_bytes()
del block
print(before, held, memory.peak_bytes(), memory._peak_of_usage())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it does not say")
def test_the_peak_stays_when_memory_is_freed() -> None:
    """The kernel counts pages with an error of some. Its usage is of the process before `exec` too, so maybe more."""
    told = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, check=True, text=True).stdout
    before, held, after, usage = map(float, told.split())
    assert before > 50e6 and held - before == pytest.approx(300e6, rel=0.2)
    assert after == pytest.approx(held, rel=0.01)
    assert 0.95 * held < usage < 100 * held


TOO_LARGE: dict[str, Callable[[], object]] = {
    "torch": lambda: torch.empty(10**15),
    "NumPy": lambda: np.empty(10**15),
    "Python": lambda: bytearray(10**17),
}


@pytest.mark.parametrize("by", TOO_LARGE)
def test_an_allocation_that_fails_is_one_line(by: str) -> None:
    with pytest.raises(UserError, match=r"^out of memory \(.*; .* smaller --batch-size.*$"), memory.explained():
        TOO_LARGE[by]()


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"), memory.explained():
        raise RuntimeError("size mismatch")


def test_the_peak_is_unknown_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", no_such_file)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert np.isnan(memory.peak_bytes())
