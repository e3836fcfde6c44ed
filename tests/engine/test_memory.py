"""A second block of the same size takes no fresh pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_is_taken_again() -> None:
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("give", "keep")
    )
    assert kept < 100 < 10_000 < given_back  # 10 blocks of 12,207 pages of 4 KiB
