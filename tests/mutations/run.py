"""Apply one-line faults to a copy of lewel and check that its tests notice each: python tests/mutations/run.py.

`mutations.toml` lists the faults and the tests that notice them. Without the fault the tests must pass on the copy;
with it, one of them must fail. A fault is missed when the tests pass, take longer than --limit, or cannot be collected.
Exit code 1: a fault was missed, or an entry does not fit the source.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutations.toml")
COPIED = ("src", "tests", "pyproject.toml")
LIMIT_S = 1800.0  # a run of tests that takes longer, where seconds are usual, is a deadlock


@dataclass(frozen=True)
class Mutation:
    """See the head of `mutations.toml`."""

    name: str
    file: str
    old: str
    new: str
    wrong: str
    tests: tuple[str, ...]

    def path(self, root: Path) -> Path:
        return root / "src" / "lewel" / self.file

    def applied(self, source: str) -> str:
        """The source with the new line in the place of the old one. Raises ValueError where that is not there once."""
        lines = source.splitlines(keepends=True)
        places = [place for place, line in enumerate(lines) if line.strip() == self.old]
        if len(places) != 1:
            raise ValueError(f"{self.name}: {self.file} has {len(places)} lines {self.old!r}, not one")
        (place,) = places
        lines[place] = lines[place].replace(self.old, self.new)
        return "".join(lines)


@dataclass(frozen=True)
class Outcome:
    """noticed: by which test first; "" where none failed.   problem: why nothing can be said of the mutation."""

    noticed: str
    problem: str
    seconds: float

    def __str__(self) -> str:
        return self.problem or (f"noticed by {self.noticed}" if self.noticed else "MISSED")


def read() -> list[Mutation]:
    """All of them, in the order of the file."""
    found = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutation"]
    return [Mutation(**entry | {"tests": tuple(entry["tests"])}) for entry in found]


def copy(to: Path) -> None:
    """Copy what the tests need, without caches."""
    left_out = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, to / name, ignore=left_out) if source.is_dir() else shutil.copy2(source, to / name)


def failure(root: Path, tests: tuple[str, ...], limit_s: float) -> Outcome:
    """Run the tests in the copy and find the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-rfE", *_below(tests)]
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=limit_s)
        except BaseException as error:  # Ctrl-C too
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that tests have started
            if isinstance(error, subprocess.TimeoutExpired):
                return Outcome("", f"took longer than {limit_s:g} s", time.monotonic() - began)
            raise
    seconds = time.monotonic() - began
    if process.returncode == 0:
        return Outcome("", "", seconds)
    found = re.search(r"^(?:FAILED|ERROR) (tests/\S+\.py::.+?)(?: - |$)", said, re.MULTILINE)
    if process.returncode == 1 and found is not None:
        return Outcome(found[1].removeprefix("tests/"), "", seconds)
    return Outcome("", f"pytest ended with {process.returncode}:\n{said[-2000:]}", seconds)


def _below(tests: tuple[str, ...]) -> list[str]:
    return [f"tests/{test}" for test in tests]


def outcome(root: Path, mutation: Mutation, limit_s: float) -> Outcome:
    """Put the mutation into the copy, run its tests, and take it out again."""
    path = mutation.path(root)
    whole = path.read_text(encoding="utf-8")
    try:
        changed = mutation.applied(whole)
    except ValueError as error:
        return Outcome("", str(error), 0.0)
    path.write_text(changed, encoding="utf-8")  # with a new time stamp, so that Python compiles it anew
    try:
        return failure(root, mutation.tests, limit_s)
    finally:
        path.write_text(whole, encoding="utf-8")


def apply_all(root: Path, chosen: Sequence[Mutation], limit_s: float) -> dict[Mutation, Outcome]:
    """Apply one after the other; a line on each, with the time left by the mean of those done."""
    found, began = dict[Mutation, Outcome](), time.monotonic()
    for number, mutation in enumerate(chosen, 1):
        found[mutation] = outcome(root, mutation, limit_s)
        left = (time.monotonic() - began) / number * (len(chosen) - number)
        said = f"{found[mutation].seconds:4.0f} s  {mutation.name}: {found[mutation]}"
        print(f"{number:>2}/{len(chosen)}  {said}  ({left / 60:.0f} min left)", flush=True)
    return found


def table(found: dict[Mutation, Outcome]) -> str:
    """A Markdown table of all outcomes."""
    rows = [("mutation", "file", "what is wrong", "noticed by"), ("---", "---", "---", "---")]
    rows += [
        (mutation.name, mutation.file, mutation.wrong, outcome.noticed or "nobody")
        for mutation, outcome in found.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these, by name or by number in the list, from 1")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for one run of pytest")
    given = parser.parse_args()
    every = read()
    named = {str(number): mutation for number, mutation in enumerate(every, 1)} | {each.name: each for each in every}
    if unknown := [name for name in given.only or () if name not in named]:
        parser.error(f"--only {unknown[0]}: the names are {', '.join(each.name for each in every)}")
    chosen = [named[name] for name in given.only] if given.only else every
    tests = tuple(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
    with tempfile.TemporaryDirectory(prefix="lewel-mutations-") as folder:
        copy(Path(folder))
        print(f"{len(tests)} tests and files of tests without a mutation ...", flush=True)
        before = failure(Path(folder), tests, given.limit)
        if before.noticed or before.problem:
            print(f"they fail as they are: {before}")
            return 1
        print(f"they pass, in {before.seconds:.0f} s", flush=True)
        found = apply_all(Path(folder), chosen, given.limit)
    noticed, seconds = sum(bool(each.noticed) for each in found.values()), sum(each.seconds for each in found.values())
    print(f"\n{table(found)}\n\n{noticed} of {len(found)} noticed, in {seconds:.0f} s")
    return int(noticed < len(found))


if __name__ == "__main__":
    sys.exit(main())
