"""Does a map of the run peak on an object? Compared with the map of another scene, the untrained map, and chance.

The numbers are those of "pointing, chosen map" of `lewel evaluate maps` on scenes at SCALE times the side of the
training, without the rest of that protocol, which takes minutes: one map serves all scenes, the best of the other half
of the scenes. The control differs: it is the same map of another scene, where the protocol lets the control choose a
map of its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lewel.data import scenes
from lewel.evaluate.dense import tasks
from lewel.evaluate.dense.truth.masks import open_segmentation
from lewel.evaluate.intervals import Interval, Mean, paired
from lewel.evaluate.maps import pointing
from lewel.evaluate.maps.looking import Looking, Maps, shown_side
from lewel.evaluate.maps.scenery import Photographs, Square, regions
from lewel.interop import runs
from lewel.visualize.maps import varying_term

CHUNK = 50  # scenes encoded at a time
SCALE = 4  # 8 x 8 cells, where training has 2 x 2
VOC = Path(scenes.VOC).parent


class Peaks(NamedTuple):
    """Per cent of object in the map's largest cell, mean over the scenes.

    own: the scene's own map.  other: the same map of the scene before: what is left of it without a look at this scene.
    above: own - other, paired over the scenes.
    """

    own: float
    other: float
    above: Interval


class Pointing(NamedTuple):
    """chance: per cent of object in any cell.  maps: the trained map for even and for odd scenes.  cells: a side."""

    trained: Peaks
    untrained: Peaks
    chance: float
    maps: tuple[int, int]
    images: int
    cells: int


def looking(loaded: runs.Loaded, device: torch.device) -> Looking:
    """The run's maps over scenes at SCALE times the side of its training, as `lewel evaluate maps` makes them."""
    task = replace(tasks.Maps(), scale=SCALE)
    side = shown_side(task, loaded.recipe.data.image_size)
    return Looking(loaded, varying_term(loaded.trained), task, side, 0, device)


def scenery(folder: Path) -> Photographs:
    """The scenes of val with their masks."""
    return Photographs(open_segmentation(folder / VOC, "val"))


def measure(loaded: runs.Loaded, folder: Path, device: torch.device) -> Pointing:
    """Of all scenes of val, by the masks that the painter knows."""
    look, several = looking(loaded, device), scenery(folder)
    maps = _maps(look, several)
    cells = maps["trained"].shape[2]
    on_object = [shares(several.square(number), cells, look.task) for number in range(len(several))]

    def each(kind: str, shift: int) -> Float64[np.ndarray, "n m"]:
        rows = zip(maps[kind].roll(shift, dims=0), on_object, strict=True)
        return 100 * torch.stack([pointing.pointing(row, share) for row, share in rows]).double().numpy()

    (trained, chosen), (untrained, _) = (_peaks(each(kind, 0), each(kind, 1)) for kind in maps)
    chance = 100 * float(torch.stack(on_object).mean())
    return Pointing(trained, untrained, chance, chosen, len(several), cells)


def _maps(look: Looking, several: Photographs) -> Maps:
    """Trained and initial maps of all scenes."""
    chunks = [range(first, min(first + CHUNK, len(several))) for first in range(0, len(several), CHUNK)]
    found = [look.maps([several.square(number).picture for number in chunk]) for chunk in chunks]
    return {kind: torch.cat([maps[kind] for maps in found]) for kind in ("trained", "initial")}


def _peaks(own: Float64[np.ndarray, "n m"], other: Float64[np.ndarray, "n m"]) -> tuple[Peaks, tuple[int, int]]:
    """One map for all scenes, and the same map of another scene."""
    ours, chosen = pointing.chosen(own)
    theirs = other[np.arange(len(other)), np.resize(chosen, len(other))]
    above = paired([Mean.of(ours)], [Mean.of(theirs)])
    assert above is not None
    return Peaks(float(ours.mean()), float(theirs.mean()), above), chosen


def shares(square: Square, cells: int, task: tasks.Maps) -> Float[Tensor, "h w"]:
    """Share of object in each of cells x cells positions, whole pixels in every one."""
    where = regions(square.classes, -(-task.resolution // cells) * cells, task.least)
    return pointing.cell_shares(where.each.any(dim=0), where.counted, cells, cells)
