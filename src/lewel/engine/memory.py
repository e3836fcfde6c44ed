"""Freed memory stays with the process; and the most that it held.

By default glibc hands every freed block of some size back to the system, and the next one is made of fresh pages, each
of which the kernel has to fetch and zero. A training step on a CPU frees and takes gigabytes, an image half a megabyte:
docs/performance.md has what that costs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed() -> bool:
    """For this process and those it forks from here on; True where it could be done: under glibc.

    The process then keeps its peak until it ends. Any number of calls is one.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    never_give_back = libc.mallopt(_M_TRIM_THRESHOLD, -1)
    never_map = libc.mallopt(_M_MMAP_MAX, 0)
    return bool(never_give_back and never_map)


def peak_bytes() -> float:
    """The most memory held so far: on the GPU where one is used, else by this process (its data workers not).

    nan where the system does not say (Windows).
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return _peak_of_usage()


def _peak_of_usage() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
