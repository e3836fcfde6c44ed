"""The numbers of the dense tasks' protocols."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Maps:
    """Where the maps of a run look, against masks: `lewel.evaluate.maps.looking`.

    scale: images are so many times as large as in the run's training, where --image-size does not say.
    resolution: pixels a side, at least, at which maps meet masks.
    least: objects of a class with less than this share of the image are left out.
    overlap: of two views' crops, at least this share of the smaller one must be in both; points: a side, to compare at.
    resamples: of the images, for 95 % intervals.
    scenes: how many are made for --data scenes.
    """

    scale: int = 2
    resolution: int = 64
    least: float = 0.01
    overlap: float = 0.1
    points: int = 16
    resamples: int = 2000
    scenes: int = 200
