"""What a finished run or evaluation is, byte for byte but for its times; and what a killed one leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from started import Started

TIMES = frozenset({"images_per_s", "data_wait", "left_s", "evaluate_s", "seconds"})
WHOLE = ("*.safetensors", "predictions.npz", "skipped.jsonl", "checkpoints/*/*")  # compared by their bytes
WORKERS_S = 60.0  # at most, for data workers to notice that their parent is gone


def finished(directory: Path) -> dict[str, Any]:
    """By relative path: the sha256 of a file, or its content without times; and the names of all files."""
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    found: dict[str, Any] = {"files": [name for name in names if "/events.out." not in f"/{name}"]}
    for name in found["files"]:
        path = directory / name
        if path.name == "metrics.jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name in ("results.json", "job.json"):
            found[name] = _timeless(json.loads(path.read_bytes()))
        elif any(path.match(pattern) for pattern in WHOLE):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is not as in the unbroken run, a line each."""
    lines = [f"not there: {name}" for name in expected["files"] if name not in found["files"]]
    lines += [f"left behind: {name}" for name in found["files"] if name not in expected["files"]]
    return lines + [f"differs: {name}" for name in expected if name != "files" and expected[name] != found.get(name)]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in TIMES}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def is_writing(directory: Path, since: float) -> bool:
    """Whether there is a half-written file that is newer than this time, in seconds since 1970."""
    with suppress(FileNotFoundError):  # it is whole by now
        for path in directory.rglob(".*"):
            if re.fullmatch(r"\.tmp-.*|\..*\.tmp", path.name) and path.stat().st_mtime > since:
                return True
    return False


def phase(directory: Path, since: float) -> str:
    """How far a process was that began at `since` and has just been killed, by what it left."""
    if is_writing(directory, since):
        return "while a file was written"
    names = [path.name for path in directory.rglob("*")] if directory.exists() else []
    if not names:
        return "before the first file"
    return "after a checkpoint" if any(name.startswith("step-") for name in names) else "before the first checkpoint"


def orphans(started: Iterable[Started]) -> list[int]:
    """Processes that are still there so long after the one that started them has ended."""
    end = time.monotonic() + WORKERS_S
    while (left := [pid for each in started for pid in each.others()]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def shared_memory() -> set[str]:
    """Names in /dev/shm that no living process has mapped."""
    there = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            there -= set(re.findall(r"/dev/shm/(\S+)", maps.read_text()))
    return there


def temporary_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
