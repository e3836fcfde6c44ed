"""Damaged files to every reader: python tests/fuzz/run.py --seconds 60, or --inputs 10000 for each of them.

A reader must return, or raise UserError (DecodeError for one image), within SECONDS of processor time and with MEMORY
more than before, and leave the folder as it is. Everything else is printed with the seed that makes it again:
--reader NAME --seed N --inputs 1. Exit code 1 where something was found. A line every ten seconds tells how far it is;
--json writes the reports into a file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

from fuzz.mutate import damaged  # noqa: E402  (beside this file, found by the line above)
from fuzz.readers import ALLOWED, READERS, Reader  # noqa: E402
from lewel.bench.compare import machine  # noqa: E402

SECONDS, MEMORY = 15.0, 1.5e9  # for one file: the limits of an image are 10 s and 1 GB
SHOWN = 5
TOLD_EVERY_S = 10.0


class _TooLongError(BaseException):
    """From the timer of processor time; a BaseException, so that no reader takes it for its own."""


@dataclass
class Report:
    """What became of the files of one reader.  seconds: of processor time, all of them and the slowest.

    memory: bytes at the peak, more than before the first.   slowest: its seed.
    """

    name: str
    count: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: int = 0
    slowest_s: float = 0.0
    memory: float = 0.0
    faults: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """For a JSON file."""
        return vars(self) | {"ends": dict(self.ends.most_common()), "seconds": round(self.seconds, 1)}

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {name}" for name, count in self.ends.most_common())
        return (
            f"{self.name:<14} {self.count:>7} inputs in {self.seconds:.0f} s: {ends}; slowest {self.slowest_s:.2f} s "
            f"(seed {self.slowest}), {self.memory / 1e6:.0f} MB more; {len(self.faults)} faults"
        )


def fuzz(
    reader: Reader,
    first_seed: int,
    count: int | None,
    seconds: float | None,
    tell: Callable[[Report], None] | None = None,
) -> Report:
    """Damage the reader's files, seed after seed, until the count or the processor time is used up.

    tell: called with the report so far after each.
    """
    report, began = Report(reader.name), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = {path: path.read_bytes() for path in reader.prepare(folder)}
        there = _listing(folder)
        for path in whole:  # whole files are read
            reader.read(path if reader.each else folder)
        before, seed = _peak(), first_seed
        while (count is None or report.count < count) and (seconds is None or time.process_time() - began < seconds):
            path = list(whole)[seed % len(whole)]
            path.write_bytes(damaged(whole[path], seed, reader.mutations))
            end, problem, taken = _one(reader, path if reader.each else folder)
            path.write_bytes(whole[path])
            report.count, report.seconds = report.count + 1, time.process_time() - began
            if taken > report.slowest_s:
                report.slowest, report.slowest_s = seed, taken
            report.ends[end] += 1
            if _listing(folder) != there:
                problem = f"files were written or deleted: {sorted(_listing(folder) ^ there)[:3]}"
                there = _listing(folder)
            if problem:
                report.faults.append(f"{reader.name}, seed {seed} ({path.name}): {problem}")
            seed += 1
            if tell is not None:
                tell(report)
        report.memory = _peak() - before
    if report.memory > MEMORY:
        report.faults.append(f"{reader.name}: {report.memory / 1e9:.1f} GB more than before")
    return report


def _one(reader: Reader, where: Path) -> tuple[str, str, float]:
    """How one reading ended, what is wrong with that, and its seconds of processor time."""
    began = time.process_time()
    _limit(SECONDS)
    try:
        reader.read(where)
        end, problem = "read", ""
    except ALLOWED as error:
        end, problem = "refused", "" if "\n" not in str(error) else f"more than one line: {error!r}"
    except _TooLongError:
        end, problem = "too long", f"more than {SECONDS:g} s"
    except BaseException as error:
        end, problem = type(error).__name__, "".join(traceback.format_exception(error)[-4:])
    finally:
        _limit(0)
    return end, problem, time.process_time() - began


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _peak() -> float:
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit(seconds: float) -> None:
    """Raise _TooLongError after so much processor time; 0: no more. Windows has no such timer."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, _raise)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _raise(*_: Any) -> None:
    raise _TooLongError


def _in_process(reader_name: str, *limits: Any) -> Report:
    """In a process of its own, so that its memory is its own."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stderr(None):
        return fuzz(next(reader for reader in READERS if reader.name == reader_name), *limits, _Teller(*limits[1:]))


class _Teller:
    """A line every ten seconds, with the time that is left of this reader."""

    def __init__(self, count: int | None, seconds: float | None):
        self.count, self.seconds, self.began = count, seconds, time.monotonic()
        self.last = self.began

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self.last < TOLD_EVERY_S:
            return
        self.last = now
        shares = [report.count / self.count] if self.count else []
        shares += [report.seconds / self.seconds] if self.seconds else []
        left = (now - self.began) * (1 / max([*shares, 1e-9]) - 1)
        print(f"  {report.name}: {report.count} inputs, {left:.0f} s left", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", action="append", choices=[reader.name for reader in READERS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, help="damaged files for each reader")
    parser.add_argument("--seconds", type=float, help="processor time for all readers together")
    parser.add_argument("--json", type=Path, help="file for the reports")
    given = parser.parse_args()
    names = given.reader or [reader.name for reader in READERS]
    seconds = None if given.seconds is None else given.seconds / len(names)
    if given.inputs is None and seconds is None:
        parser.error("give --inputs or --seconds")
    reports = []
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            report = pool.apply(_in_process, (name, given.seed, given.inputs, seconds))
        print(report, flush=True)
        for fault in report.faults[:SHOWN]:
            print(f"  {fault}", flush=True)
        reports.append(report)
        if given.json is not None:
            content = {"command": " ".join(sys.argv), "machine": machine(), "readers": [each.row() for each in reports]}
            given.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(any(report.faults for report in reports))


if __name__ == "__main__":
    sys.exit(main())
