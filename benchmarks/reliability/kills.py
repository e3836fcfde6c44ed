"""SIGKILL at random moments: every run that is started again ends as the unbroken one, and leaves nothing behind.

    python benchmarks/reliability/kills.py --work DIR [--kills 200] [--only TEXT] [--seed 0] [--out docs/data]

Each scenario has an unbroken run first, whose life is the measure: a kill comes at a moment that is uniform over it, or
the moment a half-written file is seen. The killed command is given again; a run that ends before its kill is compared
and followed by a new one, and so is the one after the last kill. Of two processes one is killed, or both. Scenarios
that are done are not done again: the same command on the same --work goes on.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import campaign
import scenarios
import sources
import traces
from scenarios import Scenario
from started import LONGEST_S, Started, must_end, preload, start

COLD = 0.1  # share of starts with a new interpreter, imports included
WRITES = 0.4  # share of kills that wait for a half-written file
SURVIVOR_S = 300.0  # at most, for the other process of a killed one to end by itself


@dataclass
class Chain:
    """The kills of one scenario, in one folder."""

    scenario: Scenario
    work: Path
    chance: random.Random
    kills: int = 0
    ends: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    survivors: Counter[str] = field(default_factory=Counter)
    cold: int = 0
    faults: list[str] = field(default_factory=list)

    def run(self, kills: int, progress: campaign.Progress, done: int) -> None:
        shared = traces.shared_memory()
        began = time.monotonic()
        started = self._start(self.work / "unbroken", warm=True)
        must_end(started, f"{self.scenario.name}: the unbroken run")
        self.life = time.monotonic() - began
        self.expected = traces.finished(self.work / "unbroken")
        out = self._next()
        while self.kills < kills:
            if self._killed(out):
                self.kills += 1
                progress.at(done + self.kills, self.scenario.name)
            else:
                out = self._next()
        if out.exists() and not self._end(out, self._start(out, warm=True)):
            self.faults.append(f"{out}: did not end")
        left = traces.temporary_files(self.work / "tmp") + sorted(traces.shared_memory() - shared)
        self.faults += [f"left behind: {name}" for name in left]

    def row(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name, "kills": self.kills, "finished and compared": self.ends,
            "of cold starts": self.cold, "phases": dict(self.phases), "survivors": dict(self.survivors),
            "life_s": round(self.life, 1), "faults": self.faults,
        }  # fmt: skip

    def _next(self) -> Path:
        return self.work / f"run-{self.ends}"

    def _start(self, out: Path, warm: bool) -> list[Started]:
        words = (*self.scenario.words, "--out", out)
        return start(words, self.work / f"{out.name}.log", self.work / "tmp", warm, self.scenario.processes)

    def _killed(self, out: Path) -> bool:
        """Start it and kill it; False where it ended before, and was compared."""
        warm, since = self.chance.random() > COLD, time.time()
        moment = self.chance.uniform(0, self.life)
        started = self._start(out, warm)
        at_write = self.chance.random() < WRITES
        while any(each.status() is None for each in started):
            if traces.is_writing(out, since) if at_write else time.monotonic() - started[0].began > moment:
                break
            time.sleep(0.001)
        which = self.chance.sample(started, self.chance.randint(1, len(started)))
        for each in which:
            each.send(signal.SIGKILL)
        if not any(each.wait(LONGEST_S) == -signal.SIGKILL for each in which):
            self._end(out, started)
            return False
        self.cold += not warm
        self._survive([each for each in started if each not in which])
        self.phases[traces.phase(out, since)] += 1
        self._orphans(started)
        return True

    def _survive(self, others: list[Started]) -> None:
        """Those that were not killed end by themselves, with 2; done ones with 0."""
        for each in others:
            try:
                code = each.wait(SURVIVOR_S)
            except TimeoutError as error:
                self.faults.append(str(error))
                continue
            self.survivors[f"exit code {code}"] += 1

    def _end(self, out: Path, started: list[Started]) -> bool:
        """Wait for the end, and compare."""
        codes = [each.wait(LONGEST_S) for each in started]
        self._orphans(started)
        if any(codes):
            self.faults.append(f"{out}: exit codes {codes}; see {started[0].log}")
            return False
        found = traces.differences(self.expected, traces.finished(out))
        self.faults += [f"{out}: {line}" for line in found]
        self.ends += 1
        if not found:
            shutil.rmtree(out)
        return True

    def _orphans(self, started: list[Started]) -> None:
        self.faults += [f"process {pid} still runs; see {started[0].log}" for pid in traces.orphans(started)]


def main() -> int:
    parser = campaign.flags(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    preload()
    work = given.work.absolute()
    chosen = [each for each in scenarios.all_of(sources.make(work)) if given.only in each.name]
    if not chosen:
        parser.error(f"no scenario has {given.only!r} in its name")
    progress, rows = campaign.Progress(given.kills, "kills"), list[dict[str, Any]]()
    for number, scenario in enumerate(chosen):
        done, until = (given.kills * count // len(chosen) for count in (number, number + 1))
        rows.append(row_of(scenario, work / f"scenario-{number}", until - done, given.seed, progress, done))
        for fault in rows[-1]["faults"]:
            print(f"  {scenario.name}: {fault}", flush=True)
        campaign.write("kills", given.out, content := summary(rows))
    kills, compared, faults = (content[name] for name in ("kills", "finished and compared", "faults"))
    print(f"{kills} kills, {compared} finished runs compared: {faults} faults")
    return int(faults > 0)


def row_of(
    scenario: Scenario, folder: Path, kills: int, seed: int, progress: campaign.Progress, done: int
) -> dict[str, Any]:
    """The scenario's row, which its folder keeps."""
    kept = folder / "row.json"
    if kept.exists():
        row = json.loads(kept.read_text())
        if (row["scenario"], row["kills"]) == (scenario.name, kills):
            return row
    shutil.rmtree(folder, ignore_errors=True)
    chain = Chain(scenario, folder, random.Random(f"{seed} {scenario.name}"))
    chain.run(kills, progress, done)
    kept.write_text(json.dumps(chain.row()))
    return chain.row()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(row[name] for row in rows) for name in ("kills", "finished and compared", "of cold starts")}
    phases, survivors = (sum((Counter(row[name]) for row in rows), Counter()) for name in ("phases", "survivors"))
    faults = sum(len(row["faults"]) for row in rows)
    return counts | {"phases": phases, "survivors": survivors, "faults": faults, "scenarios": rows}


if __name__ == "__main__":
    sys.exit(main())
