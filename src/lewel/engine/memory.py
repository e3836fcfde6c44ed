"""Freed memory stays with the process; the most that it held; and what is told when there is no more.

By default glibc hands every freed block of some size back to the system, and the next one is made of fresh pages, each
of which the kernel has to fetch and zero. A training step on a CPU frees and takes gigabytes, an image half a megabyte:
docs/performance.md has what that costs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lewel.errors import UserError, no_memory

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


@contextmanager
def explained() -> Iterator[None]:
    """Context of a training: an allocation that fails raises UserError."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        reason = no_memory(error)
        if not reason:
            raise
        raise UserError(
            f"out of memory ({reason}); allow the process more (ulimit -v, the container's limit), or train with a "
            "smaller --batch-size, --accumulate 2, or fewer --workers; checkpoints are whole"
        ) from error


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


def free_bytes(device: torch.device) -> float | None:
    """Bytes that this machine, or the container it is, still has for the device; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([float(free), *_left_in_groups(Path("/sys/fs/cgroup"))])


def _left_in_groups(root: Path) -> list[float]:
    """What each control group above this process leaves of its limit; its page cache counts as free."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = root / (controllers or ".") / name.lstrip("/")
            found += [_left_in(group) for group in (folder, *folder.parents) if group.is_relative_to(root)]
    return [left for left in found if left is not None]


def _left_in(group: Path) -> float | None:
    """Limit less use of one group, version 2 or 1; None without a limit."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file "),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    ):
        try:
            most, now = (group / limit).read_text().strip(), int((group / used).read_text())
            rows = (group / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        kept = sum(int(row.split()[1]) for row in rows if row.startswith(cache))
        return float(int(most) - now + kept) if most.isdigit() else None
    return None
