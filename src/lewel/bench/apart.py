"""A contender in a process of its own: its own allocator, threads and peak of memory, and nobody else's warm caches.

The parent asks for a unit of work and waits; so contenders in many processes are still timed one at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any

from lewel.bench.compare import CONTROL, Contender, Result, interleaved
from lewel.engine.memory import peak_bytes
from lewel.errors import UserError

START_S = 600.0  # compilation included
Facts = dict[str, Any]


@dataclass(frozen=True)
class Built:
    """What a contender's maker returns, in the contender's process.

    work: a unit, done when it returns; it may return numbers, which are averaged over the units.
    images: of a unit. facts: what is known before it is timed.
    """

    work: Callable[[], dict[str, float] | None]
    images: int
    facts: Facts = field(default_factory=dict)


Maker = Callable[[Any], Built]  # a function of a module, called with a picklable setup


class Apart:
    """A running contender."""

    def __init__(self, name: str, make: Maker, setup: Any) -> None:
        self.name = name
        self._connection, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, make, setup))
        self._process.start()
        theirs.close()
        self._told: dict[str, Any] = {}
        self._units: list[dict[str, float]] = []

    def ready(self) -> None:
        """Wait until it is built. Raises UserError where it could not be."""
        self._told |= self._answer(START_S)

    def run(self) -> None:
        """One unit of work."""
        self._told |= self._answer(None, "run")
        self._units.append(self._told["unit"])

    def contender(self) -> Contender:
        return Contender(self.name, self.run, self._told["images"], lambda: self._told["cpu"])

    @property
    def facts(self) -> Facts:
        """Its maker's, the means of its units' numbers, and the most bytes that it has held."""
        means = {name: fmean(unit[name] for unit in self._units) for name in (self._units or [{}])[0]}
        return self._told["facts"] | means | {"peak_bytes": self._told["peak"]}

    def close(self) -> None:
        self._connection.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def _answer(self, timeout_s: float | None, *asked: str) -> dict[str, Any]:
        try:
            for each in asked:
                self._connection.send(each)
            if not self._connection.poll(timeout_s):
                raise UserError(f"{self.name}: not ready after {timeout_s:.0f} s; use a smaller --batch-size or recipe")
            told = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(5)
            raise UserError(
                f"{self.name}: its process ended (exit code {self._process.exitcode}), often for lack of memory; "
                "use a smaller --batch-size"
            ) from error
        if "problem" in told:
            raise UserError(f"{self.name}: {told['problem']}")
        return told


@contextmanager
def started(makers: dict[str, tuple[Maker, Any]]) -> Iterator[list[Apart]]:
    """Build the contenders one after the other, and end them all."""
    running: list[Apart] = []
    try:
        for name, (make, setup) in makers.items():
            running.append(Apart(name, make, setup))
            running[-1].ready()
        yield running
    finally:
        for each in running:
            each.close()


def timed(
    makers: dict[str, tuple[Maker, Any]], rounds: int, check: Callable[[dict[str, Facts]], None] | None = None
) -> list[Result]:
    """`interleaved` of contenders in processes of their own, each result with what is known of its contender.

    check: of the contenders' facts, by name, before they are timed; raises UserError where they cannot be compared.
    """
    with started(makers) as running:
        if check is not None:
            check({each.name: each.facts for each in running})
        results = interleaved([each.contender() for each in running], rounds)
        facts = {each.name: each.facts for each in running}
    facts[CONTROL] = facts[results[0].name]
    return [replace(result, facts=facts[result.name]) for result in results]


def _serve(connection: Connection, make: Maker, setup: Any) -> None:
    try:
        built = make(setup)
        connection.send({"images": built.images, "facts": built.facts, "cpu": _cpu_seconds(), "peak": peak_bytes()})
        while connection.recv() == "run":
            unit = built.work() or {}
            connection.send({"unit": unit, "cpu": _cpu_seconds(), "peak": peak_bytes()})
    except (EOFError, KeyboardInterrupt):
        pass
    except UserError as error:
        connection.send({"problem": str(error)})
    except Exception as error:
        traceback.print_exc()
        connection.send({"problem": f"{type(error).__name__}: {error}".splitlines()[0]})


def _cpu_seconds() -> float:
    """Of this process and of the data workers that it has now."""
    return time.process_time() + sum(_cpu_seconds_of(child.pid) for child in multiprocessing.active_children())


def _cpu_seconds_of(pid: int | None) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:  # ended, or no Linux
        return 0.0
