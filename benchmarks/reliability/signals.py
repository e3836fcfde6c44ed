"""SIGTERM, SIGINT, SIGHUP and SIGUSR1 at random moments: the run saves, ends with 75, and goes on to the same end.

    python benchmarks/reliability/signals.py --work DIR [--signals 50] [--seed 0] [--out docs/data]

A signal comes after a random step, or before the first one, and a random part of a step later. During training it must
give exit code 75, one line with the step, and a checkpoint of that step. One that comes before (imports, checks) or in
the last two steps and after them may find nothing to save: the process ends by it, or with 0. Ctrl-C and a closed
terminal reach the data workers too. Of two processes one gets the signal, and both stop.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import campaign
import sources
import traces
from scenarios import Pretraining, Scenario
from started import LONGEST_S, Started, must_end, preload, start

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
OF_TERMINALS = ("SIGINT", "SIGHUP")  # reach the whole group
RUNS = (
    Pretraining("lewel_m", "folder", 1, evaluate="knn"),
    Pretraining("byol", "shards", 0, accumulate=2),
    Pretraining("moco_v2", "index", 2),
    Pretraining("lewel_b", "folder", 0, processes=2),
)


class Case:
    """One scenario: its unbroken run, and signals until enough have hit the training."""

    def __init__(self, scenario: Scenario, work: Path, seed: int):
        self.scenario, self.work, self.chance = scenario, work, random.Random(f"{seed} {scenario.name}")
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.saved = 0
        started = self._start(work / "unbroken")
        must_end(started, f"{scenario.name}: the unbroken run")
        self.life = time.monotonic() - started[0].began
        self.expected = traces.finished(work / "unbroken")

    def _start(self, out: Path) -> list[Started]:
        words = (*self.scenario.words, "--out", out, "--save-every", 1000, "--keep", 1)  # the signal saves
        log = self.work / f"{out.name}.log"
        return start(words, log, self.work / "tmp", processes=self.scenario.processes)

    def once(self, out: Path, name: str) -> None:
        """Start, signal, judge; then the same command to its end."""
        started, steps = self._start(out), self.chance.randrange(self.steps)
        while self._recorded(out) < steps and started[0].status() is None:
            time.sleep(0.001)
        time.sleep(self.chance.uniform(0, self.life / self.steps))
        recorded = self._recorded(out)
        was_training = 0 < recorded < self.steps
        told = self.chance.choice(started)
        told.send(signal.Signals[name], to_group=name in OF_TERMINALS)
        if not was_training and len(started) > 1 and told.wait(LONGEST_S) not in (0, 75):
            for each in started:  # the others wait for the one that ended before it could join them
                each.send(signal.SIGKILL)
        codes = [each.wait(LONGEST_S) for each in started]
        self.faults += [f"process {pid} still runs" for pid in traces.orphans(started)]
        self._judge(out, name, codes, started[0].log, recorded)
        again = self._start(out)
        if any(each.wait(LONGEST_S) for each in again):
            self.faults.append(f"{out}: did not go on; see {again[0].log}")
        lines = traces.differences(self.expected, traces.finished(out))
        self.faults += [f"{out}: {name}: {line}" for line in lines]
        if not lines:
            shutil.rmtree(out)

    def _recorded(self, out: Path) -> int:
        """Steps in the record."""
        path = out / "metrics.jsonl"
        return path.read_text().count('"lr"') if path.exists() else 0

    @property
    def steps(self) -> int:
        return max(row["step"] for row in self.expected["metrics.jsonl"])

    def _judge(self, out: Path, name: str, codes: list[int], log: Path, recorded: int) -> None:
        """recorded: steps when the signal was sent. A step looks when it begins: in the last two it may be late."""
        if set(codes) == {75}:
            text = log.read_text() if log.exists() else log.with_suffix(".0.log").read_text()
            steps = re.findall(rf"stopped (?:by {name} )?at step (\d+) of", text)
            there = (out / "checkpoints" / f"step-{int(steps[-1]):08d}").is_dir() if steps else False
            self.saved += 1
            self.outcomes[f"{name}: saved, exit code 75"] += 1
            if not there:
                self.faults.append(f"{out}: {name}: 75, and no checkpoint of the step that it names; see {log}")
        elif 0 < recorded < self.steps - 2 or (0 < recorded < self.steps and set(codes) != {0}):
            self.outcomes[f"{name}: exit codes {codes} while training"] += 1
            self.faults.append(f"{out}: {name} after step {recorded}: exit codes {codes}; see {log}")
        else:
            self.outcomes[f"{name}: before the first step, or too late, exit codes {sorted(set(codes))}"] += 1


def main() -> int:
    parser = campaign.flags(__doc__)
    parser.add_argument("--signals", type=int, default=50, help="that hit the training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by lewel too
    preload()
    work = given.work.absolute()
    made, progress, cases = sources.make(work), campaign.Progress(given.signals, "signals"), list[Case]()
    for number, run in enumerate(RUNS[: given.signals]):
        folder = work / f"signals-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        case = Case(run.scenario(made), folder, given.seed)
        cases.append(case)
        aim = given.signals * (number + 1) // len(RUNS[: given.signals]) - sum(each.saved for each in cases)
        count = 0
        while case.saved < aim:
            case.once(folder / f"run-{count}", NAMES[count % len(NAMES)])
            count += 1
            progress.at(sum(each.saved for each in cases), case.scenario.name)
        for fault in case.faults:
            print(f"  {fault}", flush=True)
    return _write(cases, given.out)


def _write(cases: list[Case], out: Path) -> int:
    outcomes: Counter[str] = sum((case.outcomes for case in cases), Counter())
    faults = [fault for case in cases for fault in case.faults]
    rows: dict[str, Any] = {case.scenario.name: dict(case.outcomes) for case in cases}
    print(f"{sum(outcomes.values())} signals, {sum(case.saved for case in cases)} saved, {len(faults)} faults")
    content = {"signals": sum(outcomes.values()), "saved": sum(case.saved for case in cases), "faults": faults}
    campaign.write("signals", out, content | {"outcomes": dict(sorted(outcomes.items())), "scenarios": rows})
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
