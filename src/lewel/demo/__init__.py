"""`lewel demo`: the whole of lewel in a few minutes, on images that it makes itself.

Scenes -> pretraining without labels -> kNN and linear-fast before and after -> where the maps peak -> one page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lewel import recipes
from lewel.config import Options
from lewel.console import Console
from lewel.data import scenes
from lewel.demo import findings, page, picture
from lewel.engine import files, threads
from lewel.engine.precision import choose, device
from lewel.errors import UserError, nearest
from lewel.interop import runs
from lewel.parallel import cores
from lewel.plan import Overrides
from lewel.pretrain import pretrain
from lewel.visualize import report

METHODS = ("moco_v2", "byol", "lewel_m", "lewel_b")
TRAIN, VAL, SIZE = 2000, 1000, 96  # scenes, pixels a side
WORKERS = 4  # processes that make the scenes, at most
EVALUATIONS = 2  # kNN during pretraining, beside that before the first step


@threads.limited(1)  # operations of so small a network are too short to share: two take twice the CPU time, and longer
def demo(out: Path, method: str, seed: int) -> None:
    """Make scenes in out/images and a run in out/METHOD, or resume that run; evaluate it; write out/METHOD/demo.html.

    Raises UserError for an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"--method {method}: allowed are {', '.join(METHODS)}{nearest(method, METHODS)}")
    console, seconds = Console(), dict[str, float]()
    run, recipe = out / method, f"{method}_demo"
    console.print(f"1. {TRAIN} + {VAL} scenes of {len(scenes.CLASSES)} classes in {out / 'images'}")
    with _timed(seconds, "scenes"):
        folder = scenes.make(out / "images", TRAIN, VAL, SIZE, seed=0, workers=min(WORKERS, cores()))
    console.print(f"2. pretraining {recipe} on the {TRAIN}, without labels")
    with _timed(seconds, "pretraining"):
        every = recipes.get(recipe).epochs // EVALUATIONS
        options = Options(data=str(folder), run=str(run), seed=seed, evaluate="knn", every=every)
        pretrain(recipe, options, Overrides(), console)
    console.print("3. before against after, on the other scenes: now with labels and masks")
    with _timed(seconds, "evaluation"):
        loaded = runs.load(run)
        found = findings.measure(loaded, folder, choose("auto", device("auto")))
        if found.pointing is not None:
            files.replace(run / picture.NAME, picture.draw(loaded, found.pointing, folder, seed))
        report.write(run)
    files.replace(run / page.NAME, page.render(run, found, seconds).encode("utf-8", "backslashreplace"))
    _describe(console, run, found, seconds)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _describe(console: Console, run: Path, found: findings.Findings, seconds: dict[str, float]) -> None:
    """The tables, the sentence, and what to open."""
    for table in page.tables(found):
        console.print(page.on_screen(table))
    console.print(page.duration_in_words(seconds))
    console.print()
    console.print(findings.sentence(found), style="bold")
    console.print()
    console.print(f"4. open {run / page.NAME}; details of the training: {run / 'report.html'}")
