"""What pretraining changed on the scenes of val, with 95 % intervals over the scenes; and that in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lewel.config import Recipe
from lewel.data.images import open_images
from lewel.demo import pointing
from lewel.engine.precision import Precision
from lewel.evaluate import during, intervals
from lewel.evaluate.classification import Outcome
from lewel.evaluate.intervals import Interval
from lewel.interop import runs
from lewel.model.encoder import Encoder

NAMES = {"moco_v2": "MoCo v2", "byol": "BYOL", "lewel_m": "LEWEL_M", "lewel_b": "LEWEL_B"}


class Score(NamedTuple):
    """Top-1 accuracy on val in per cent.  change: after - before, with its interval over the images (paired)."""

    title: str
    before: float
    after: float
    change: Interval


@dataclass(frozen=True)
class Findings:
    """scores: kNN and linear-fast.  chance: top-1 of a guess, per cent.  pointing: None where a method has no maps.

    precision: of the evaluation, and of a run that was trained on this machine.
    """

    recipe: Recipe
    method: str
    precision: str
    images: int
    chance: float
    scores: tuple[Score, ...]
    pointing: pointing.Pointing | None


def measure(loaded: runs.Loaded, folder: Path, on: Precision) -> Findings:
    """Evaluate a run of the demo, as it began and as it ended, on the scenes in `folder`."""
    train, val = (open_images(folder, split) for split in ("train", "val"))
    assert val.classes is not None

    def outcomes(encoder: Encoder) -> dict[str, Outcome]:
        found = during.measure(during.TITLES, encoder.to(on.device), train, val, loaded.recipe.data, on)
        return {during.TITLES[measured.name]: measured.outcome for measured in found}

    before, after = outcomes(loaded.initial.online.encoder), outcomes(loaded.trained.online.encoder)
    scores = tuple(_score(title, before[title], after[title]) for title in before)
    method = NAMES[loaded.recipe.name.removesuffix("_demo")]
    found = pointing.measure(loaded, folder, on.device) if method.startswith("LEWEL") else None
    return Findings(loaded.recipe, method, on.name, len(val), 100 / len(val.classes), scores, found)


def _score(title: str, before: Outcome, after: Outcome) -> Score:
    change = intervals.paired([after.per_image()["top1"]], [before.per_image()["top1"]])
    assert change is not None
    return Score(title, before.top(1), after.top(1), change)


def sentence(found: Findings) -> str:
    """The verdict, from the intervals alone: improved, worse, or not to be told apart."""
    knn = found.scores[0]
    moved = f"{knn.title} from {knn.before:.1f} to {knn.after:.1f} %"
    signs = {_sign(score.change) for score in found.scores}
    if signs == {1}:
        verdict = f"Without a single label, {found.method} raised {moved}"
    elif signs == {-1}:
        verdict = f"{found.method} made the encoder worse, {moved}"
    else:
        verdict = f"No clear gain: {found.method} took {moved}"
    if found.pointing is None:
        return f"{verdict}."
    peaks = found.pointing.trained
    own, other = f"{peaks.own:.0f} % of the time", f"another scene's map {peaks.other:.0f} %"
    if _sign(peaks.above) > 0:
        return f"{verdict}, and its map finds the objects: it peaks on one {own}, {other}."
    return f"{verdict}; its map does not find the objects: it peaks on one {own}, {other}."


def _sign(interval: Interval) -> int:
    """1 or -1 where the whole interval is on one side of 0, else 0."""
    return int(interval.low > 0) - int(interval.high < 0)
