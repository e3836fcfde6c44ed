"""status.json: how far a run is, of how many steps, and how it ended; for report.html and for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lewel.engine import files

NAME = "status.json"
State = Literal["running", "done", "stopped", "failed"]


class Status(NamedTuple):
    """state: "running" stands there too after a kill, which nobody can write down.   reason: one line, or ""."""

    step: int
    total_steps: int
    state: State
    reason: str = ""

    def __str__(self) -> str:
        if self.state == "running":
            return "running when this was written; if it does not run any more, it was killed"
        return self.reason or self.state


def write(run: Path, status: Status) -> None:
    """Raises OSError."""
    files.replace(run / NAME, json.dumps(status._asdict()).encode())


def read(run: Path) -> Status | None:
    """None where a run has none, as those of earlier versions, or a damaged one."""
    try:
        found: dict[str, Any] = json.loads((run / NAME).read_bytes()) if (run / NAME).is_file() else {}
        status = Status(int(found["step"]), int(found["total_steps"]), found["state"], str(found["reason"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return status if status.state in get_args(State) else None
