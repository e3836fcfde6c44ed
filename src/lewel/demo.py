"""`lewel demo`: the whole of it in a few minutes, on images it makes itself.

Scenes -> pretraining without labels -> kNN and linear-fast before and after -> alignment maps -> a page.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from lewel import recipes
from lewel.config import Data, Options
from lewel.data import scenes
from lewel.data.images import Source, open_images
from lewel.engine.precision import Precision, choose, device
from lewel.errors import UserError, nearest
from lewel.evaluate import during
from lewel.interop import runs
from lewel.model.encoder import Encoder
from lewel.plan import Overrides
from lewel.pretrain import pretrain
from lewel.visualize import maps, report
from lewel.visualize.commands import pick

METHODS = ("moco_v2", "byol", "lewel_m", "lewel_b")
TRAIN, VAL, SIZE = 2000, 500, 96  # scenes, pixels a side


def demo(out: Path, method: str, seed: int) -> None:
    """Make scenes in out/images and a run in out/METHOD, or go on with it. Raises UserError for an unknown method."""
    if method not in METHODS:
        raise UserError(f"--method {method}: allowed are {', '.join(METHODS)}{nearest(method, METHODS)}")
    console = Console()
    run = out / method
    console.print(f"1. {TRAIN} + {VAL} scenes of 10 classes in {out / 'images'}", highlight=False)
    folder = scenes.make(out / "images", TRAIN, VAL, SIZE, seed=0)
    console.print(f"2. pretraining {method}_demo on them, without labels", highlight=False)
    options = Options(data=str(folder), run=str(run), seed=seed, evaluate="none")
    pretrain(f"{method}_demo", options, Overrides(), console)
    console.print("3. the encoder before and after: kNN and linear-fast, with the labels now", highlight=False)
    loaded = runs.load(run)
    on = choose("auto", device("auto"))
    data = recipes.get(f"{method}_demo").data
    train, val = (open_images(folder, split) for split in ("train", "val"))
    scores = {
        "untrained": score(loaded.initial.online.encoder, train, val, data, on),
        "pretrained": score(loaded.trained.online.encoder, train, val, data, on),
    }
    if method.startswith("lewel"):
        figure = maps.maps_figure(loaded.trained, loaded.initial, pick(val, 6, seed), data, seed=seed)
        maps.save(figure, run / "maps.png")
    before, after = scores.values()
    report.write(run, {f"{task}, top-1 %": f"{before[task]:.1f} before, {after[task]:.1f} after" for task in before})
    _summary(console, run, scores)


def score(encoder: Encoder, train: Source, val: Source, data: Data, on: Precision) -> dict[str, float]:
    """Top-1 in per cent by kNN and by linear-fast, keys from train, queries from val."""
    found = during.measure(during.TITLES, encoder.to(on.device), train, val, data, on)
    return {during.TITLES[measured.name]: measured.top1 for measured in found}


def _summary(console: Console, run: Path, scores: dict[str, dict[str, float]]) -> None:
    table = Table("top-1, %", *next(iter(scores.values())), box=None, pad_edge=False)
    for encoder, numbers in scores.items():
        table.add_row(encoder, *(f"{number:.1f}" for number in numbers.values()))
    table.add_row("chance", *("10.0" for _ in next(iter(scores.values()))))
    console.print(table, highlight=False)
    pictures = f", {run / 'maps.png'}" if (run / "maps.png").exists() else ""
    console.print(f"4. open {run / 'report.html'}{pictures}", highlight=False)
