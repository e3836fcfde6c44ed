"""Freed memory stays with the process.

By default glibc hands every freed block of some size back to the system, and the next one is made of fresh pages, each
of which the kernel has to fetch and zero. A training step on a CPU frees and takes gigabytes, an image half a megabyte:
docs/performance.md has what that costs.
"""

from __future__ import annotations

import ctypes
import platform

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
