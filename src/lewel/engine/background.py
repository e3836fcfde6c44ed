"""Writing beside the training: the state is copied at once, the disk takes its time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lewel import parallel
from lewel.errors import reason

log = logging.getLogger(__name__)


class Background:
    """One piece of work at a time in a thread of process 0. What goes wrong in it is raised on every process, as a
    UserError, by the next `start` or `finish`: every process calls these together, or none.

    told: makes the message for the user from an OSError's reason.
    """

    def __init__(self, told: Callable[[str], str]) -> None:
        self._told = told
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lewel-writer")
        self._running: Future[object] | None = None

    def start(self, work: Callable[[], object] | None) -> None:
        """Begin `work` (process 0's; the others give None), once the work before it is done."""
        self.finish()
        self._running = self._pool.submit(work) if work is not None else None

    def finish(self) -> None:
        """Wait until nothing is left to do."""
        running, self._running = self._running, None
        parallel.on_main(lambda: running and running.result(), self._told)

    def close(self) -> None:
        """Wait, on this process alone; what went wrong, and nobody has asked for, goes to the log."""
        self._pool.shutdown(wait=True)
        if self._running is not None and (error := self._running.exception()) is not None:
            log.warning("%s", self._told(reason(error)) if isinstance(error, OSError) else error)
