"""A tiny run for half an hour, in which one image of every epoch is damaged: memory and descriptors over time.

    python benchmarks/reliability/soak.py --work DIR [--minutes 30] [--workers 1] [--out docs/data]

Sampled every two seconds over all processes of the run; then another image is the damaged one. The slope is fitted by
least squares after the first tenth; its interval is by bootstrap over blocks of a minute, as neighbouring samples are
not independent.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import campaign
import numpy as np
import sources
from started import Started, preload, start

EVERY_S = 2.0
BLOCK_S = 60.0
WARMUP = 0.1  # of the time
RESAMPLES = 2000


class Sample(NamedTuple):
    """Of the run's processes together.

    anonymous_mb: their own memory, each page that they share counted once; pages of files, such as libraries, come and
    go with what else runs on the machine.   rss_mb: resident, shared pages counted in each.   step: of the record.
    """

    seconds: float
    anonymous_mb: float
    rss_mb: float
    descriptors: int
    processes: int
    step: int


class Slope(NamedTuple):
    """Per hour, with its 95 % interval."""

    per_hour: float
    low: float
    high: float


def slope(seconds: np.ndarray, values: np.ndarray, block_s: float = BLOCK_S) -> Slope:
    """Least squares; the interval from residuals that are drawn again in whole blocks."""
    hours = (seconds - seconds.mean()) / 3600
    weights = hours / (hours @ hours)
    fitted = weights @ values
    residuals = values - values.mean() - fitted * hours
    length = max(1, round(block_s / np.median(np.diff(seconds))))
    starts = np.arange(max(1, len(values) - length + 1))
    generator = np.random.default_rng(0)
    found = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = generator.choice(starts, -(-len(values) // length))
        drawn = np.concatenate([residuals[first : first + length] for first in chosen])[: len(values)]
        found[number] = fitted + weights @ drawn
    return Slope(float(fitted), *map(float, np.percentile(found, [2.5, 97.5])))


def sample(run: Started, directory: Path) -> Sample:
    pids = [run.pid, *run.others()]
    memory = [_memory(pid) for pid in pids]
    seconds = time.monotonic() - run.began
    totals = (sum(kind) / 1e3 for kind in zip(*memory, strict=True))
    return Sample(seconds, *totals, sum(map(_descriptors, pids)), len(pids), _last_step(directory / "metrics.jsonl"))


def _memory(pid: int) -> tuple[int, int]:
    """(anonymous, resident) kB; zeros of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    fields = {line.split(":")[0]: line.split() for line in lines[1:]}
    return int(fields["Pss_Anon"][1]), int(fields["Rss"][1])


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _last_step(path: Path) -> int:
    """Of the last whole row; the end of the file is enough."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = [line for line in file.read().split(b"\n")[1:-1] if b'"step": ' in line]
    except OSError:
        return 0
    return int(lines[-1].split(b'"step": ')[1].split(b",")[0]) if lines else 0


class Damage:
    """One image at a time is no picture: half of it, noise, nothing, or text. The one before is whole again."""

    def __init__(self, images: Path):
        self.images = sorted((images / "train").rglob("*.jpg"))
        self.chance, self.count, self.current = random.Random(0), 0, self.images[0]
        self.whole = self.current.read_bytes()

    def next(self) -> None:
        self._put(self.whole)
        self.current = self.chance.choice(self.images)
        self.whole = self.current.read_bytes()
        kinds = (self.whole[: len(self.whole) // 2], self.chance.randbytes(500), b"", b"<html>not found</html>")
        self._put(kinds[self.count % len(kinds)])
        self.count += 1

    def _put(self, content: bytes) -> None:
        """At once, so that no reader finds half of it."""
        aside = self.current.with_suffix(".aside")
        aside.write_bytes(content)
        aside.replace(self.current)


def soak(work: Path, minutes: float, workers: int) -> tuple[list[Sample], int, int]:
    """Samples, damaged images, and the exit code after SIGTERM."""
    images = sources.make(work)["folder"]
    out = work / "soak"
    shutil.rmtree(out, ignore_errors=True)
    words = (
        "pretrain", "lewel_m_tiny", "--data", images, "--out", out, *sources.SMALL, "--epochs", 1_000_000,
        "--save-every", 100, "--every", 100, "--log-every", 100, "--workers", workers, "--max-unreadable", 1,
    )  # fmt: skip
    (run,) = start(words, work / "soak.log", work / "tmp", warm=False)
    damage, samples = Damage(images), list[Sample]()
    while run.status() is None and sample(run, out).processes <= workers:  # imports and checks are not measured
        time.sleep(EVERY_S)
    progress, began = campaign.Progress(minutes * 60, "seconds"), time.monotonic()
    while (seconds := time.monotonic() - began) < minutes * 60 and run.status() is None:
        samples.append(latest := sample(run, out)._replace(seconds=seconds))
        damage.next()
        progress.at(seconds, f"step {latest.step}, {latest.anonymous_mb:.0f} MB, {latest.descriptors} descriptors")
        time.sleep(EVERY_S)
    run.send(signal.SIGTERM)
    return [each for each in samples if each.processes > workers], damage.count, run.wait(120)  # not a worker's change


def main() -> int:
    parser = campaign.flags(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    preload()
    samples, damaged, code = soak(given.work.absolute(), given.minutes, given.workers)
    given.out.mkdir(parents=True, exist_ok=True)
    with open(given.out / "soak.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        writer.writerows([round(value, 2) for value in each] for each in samples)
    later = np.array([each for each in samples if each.seconds > WARMUP * given.minutes * 60])
    found = {
        name: slope(later[:, 0], later[:, Sample._fields.index(name)])._asdict()
        for name in ("anonymous_mb", "rss_mb", "descriptors")
    }
    ends = {"first": samples[len(samples) // 10]._asdict(), "last": samples[-1]._asdict()}
    skipped = (given.work / "soak" / "skipped.jsonl").read_text().count("\n")
    content = {"minutes": given.minutes, "samples": len(samples), "damaged images": damaged, "exit code": code}
    content |= {"images skipped": skipped, "per hour": found} | ends
    for name, each in found.items():
        print(f"{name}: {each['per_hour']:+.2f} an hour, 95 % {each['low']:+.2f} to {each['high']:+.2f}")
    campaign.write("soak", given.out, content)
    return 0 if code == 75 else 1


if __name__ == "__main__":
    sys.exit(main())
