"""One start of a run, as its loggers see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lewel.engine import files, status

IDS = "loggers.json"


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        directory: the run directory.
        step: the step that this start goes on from; 0 at the beginning. Rows of later steps, written by an earlier
            start, will come again.
        config: the recipe's numbers and the seed, flat: {"optimizer.lr": 0.03, ...}.
    """

    directory: Path
    step: int = 0
    config: Mapping[str, object] = field(default_factory=dict)

    def id_of(self, logger: str) -> str | None:
        """The id that an earlier start of this run kept for a logger; None at the first start."""
        found = self._ids().get(logger)
        return found if isinstance(found, str) else None

    def keep_id(self, logger: str, id: str) -> None:
        """Keep a logger's id in the run directory. Raises OSError."""
        ids = self._ids() | {logger: id}
        files.replace(self.directory / IDS, json.dumps(ids, indent=1).encode())

    def ending(self) -> status.State:
        """How this start ended, at the time when loggers are closed: done, stopped or failed."""
        found = status.read(self.directory)
        return found.state if found is not None and found.state != "running" else "failed"

    def _ids(self) -> dict[str, object]:
        path = self.directory / IDS
        try:
            found = json.loads(path.read_bytes()) if path.is_file() else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
