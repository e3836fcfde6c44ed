"""Maps of a run, measured on images with masks, and on two views of each.

Five kinds of maps over the same images:

    trained    of the run
    other      of the run, but those of another image: what is left without a look at the image, such as a pull to the
               middle or to the border
    initial    of the run's network as it began
    random     noise through the same softmax, as many maps
    uniform    1/p everywhere: chance, exactly; it has no agreement

    pointing            mean of all maps            pointing_sharpest   of each image's map of the lowest entropy
    pointing_chosen     of one map, which is the best of the other half of the images
    pointing_best       of each image's best map, so the masks choose it; only to be read beside the other kinds
    iou_chosen, iou_best                            as these, of each class's objects, mean over an image's classes
    agreement           correlation of a map with itself in another view, over what both views show

Pointing and IoU are in per cent; `pointing` says what they are, `agreement` that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lewel.console import Console
from lewel.data import augment, pillow
from lewel.data.decode import DecodeError
from lewel.engine.progress import Progress
from lewel.errors import UserError
from lewel.evaluate.dense import tasks
from lewel.evaluate.maps import agreement, pointing
from lewel.evaluate.maps.scenery import Regions, Scenery, Square, regions
from lewel.interop import runs
from lewel.model.maps import alignment_maps
from lewel.model.method import Method
from lewel.shapes import Skip
from lewel.visualize.maps import alignment, stacked

KINDS = ("trained", "other", "initial", "random", "uniform")
METRICS = {
    "pointing": "pointing",
    "pointing_sharpest": "sharpest map",
    "pointing_chosen": "chosen map",
    "pointing_best": "best map",
    "iou_chosen": "IoU, chosen map",
    "iou_best": "IoU, best map",
    "agreement": "views agree",
}
CHUNK = 64  # images at a time

Row = dict[str, Any]  # of one image and one kind of maps; NAME_each: (m,) of every map


def shown_side(task: tasks.Maps, trained: int) -> int:
    """Pixels a side of the images: `scale` times that of the training, in whole cells of 32."""
    return -(-task.scale * trained // 32) * 32


@dataclass
class Measured:
    """Of the n images that could be used.  values: (n,) by kind and metric; per cent, or a correlation.

    left_out: images without objects that are large enough.  maps: the chosen ones, for even and for odd images.
    """

    names: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    values: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    maps: tuple[int, int] = (0, 0)
    left_out: int = 0
    skipped: list[Skip] = field(default_factory=list)


class Seen(NamedTuple):
    """A picture, its two views, and where its objects are."""

    square: Square
    regions: Regions
    views: tuple[augment.Parameters, augment.Parameters]


Maps = dict[str, Float[Tensor, "b m h w"]]  # by kind


@dataclass(frozen=True)
class Looking:
    """A run's maps, and how they are measured. side: of the squares that the encoder gets."""

    loaded: runs.Loaded
    term: str
    task: tasks.Maps
    side: int
    seed: int
    device: torch.device

    def measure(self, scenery: Scenery, console: Console) -> Measured:
        """Raises UserError where fewer than two images can be used."""
        found = Measured()
        rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
        generator, last = torch.Generator().manual_seed(self.seed), None
        for several in self._seen(scenery, found, console):
            last = self._add(rows, several, generator, last)
        if len(found.names) < 2:
            least = f"{self.task.least:.0%} of the image"
            raise UserError(f"--data: fewer than two images with objects of {least} or more; give others")
        found.values = {kind: _values(several) for kind, several in rows.items()}
        found.maps = pointing.chosen(_each(rows["trained"], "pointing"))[1]
        return found

    def maps(self, pictures: Sequence[Image.Image]) -> Maps:
        """Trained and initial maps of square pictures."""
        resized = [picture.resize((self.side, self.side), Image.Resampling.BILINEAR) for picture in pictures]
        return self._aligned(resized)

    def _aligned(self, pictures: Sequence[Image.Image]) -> Maps:
        pixels = stacked(pictures, self.loaded.recipe.data)
        methods: dict[str, Method] = {"trained": self.loaded.trained, "initial": self.loaded.initial}
        return {kind: alignment(method.to(self.device), pixels, self.term) for kind, method in methods.items()}

    def _seen(self, scenery: Scenery, found: Measured, console: Console) -> Iterator[list[Seen]]:
        """The images that can be used, some at a time."""
        several, began, total = list[Seen](), time.monotonic(), len(scenery)
        with Progress(total, console=console, unit="image") as progress:
            for number in range(total):
                if (seen := self._look(scenery, number, found)) is not None:
                    several.append(seen)
                if len(several) == CHUNK or (number == total - 1 and several):
                    yield several
                    several = []
                    speed = (number + 1) / max(time.monotonic() - began, 1e-9)
                    left = (total - number - 1) / speed
                    progress.show({"step": number + 1, "images_per_s": speed, "left_s": left})

    def _look(self, scenery: Scenery, number: int, found: Measured) -> Seen | None:
        try:
            square = scenery.square(number)
        except DecodeError as error:
            found.skipped.append(Skip(str(error.path), error.reason))
            return None
        where = regions(square.classes, self._resolution, self.task.least)
        if not len(where.each):
            found.left_out += 1
            return None
        found.names.append(square.name)
        found.indices.append(number)
        size, numbers = square.picture.size, self.loaded.recipe.data.views[:2]
        one, two = (augment.sample(v, size, self.side, self.seed, 0, number, i) for i, v in enumerate(numbers))
        return Seen(square, where, (one, two))

    @cached_property
    def _resolution(self) -> int:
        """`task.resolution`, or a little more: whole pixels in every cell."""
        _, h, _ = self.loaded.trained.online.encoder.map_shape(self.side)
        return -(-self.task.resolution // h) * h

    def _add(
        self, rows: dict[str, list[Row]], several: list[Seen], generator: torch.Generator, last: list[Tensor] | None
    ) -> list[Tensor]:
        """A row an image. last: maps of the image before, whole and second view; returns those of the last one."""
        whole = self.maps([seen.square.picture for seen in several])
        first, second = (
            self._aligned([pillow.augmented(seen.square.picture, seen.views[v]) for seen in several]) for v in (0, 1)
        )
        before = last or [whole["trained"][-1:], second["trained"][-1:]]
        whole["other"] = torch.cat([before[0], whole["trained"][:-1]])
        first["other"], second["other"] = first["trained"], torch.cat([before[1], second["trained"][:-1]])
        for maps in (whole, first, second):
            maps["random"] = _noise(maps["trained"], generator)
        for place, seen in enumerate(several):
            for kind, maps in whole.items():
                rows[kind].append(self._of_image(maps[place], first[kind][place], second[kind][place], seen))
            rows["uniform"].append(_of_chance(seen.regions))
        return [whole["trained"][-1:], second["trained"][-1:]]

    def _of_image(
        self,
        maps: Float[Tensor, "m h w"],
        first: Float[Tensor, "m h w"],
        second: Float[Tensor, "m h w"],
        seen: Seen,
    ) -> Row:
        each, counted = seen.regions
        points = pointing.pointing(maps, pointing.cell_shares(each.any(dim=0), counted, *maps.shape[1:]))
        overlaps = pointing.iou(maps, each, counted)
        shared = agreement.overlap(*seen.views, self.task.overlap)
        both = (first, second, *seen.views)
        alike = np.nan if shared is None else agreement.correlation(*both, shared, self.task.points)
        return {
            "pointing": float(points.mean()),
            "pointing_sharpest": float(points[pointing.sharpest(maps)]),
            "pointing_best": float(points.max()),
            "pointing_each": points.numpy(),
            "iou_best": float(overlaps.amax(dim=0).mean()),
            "iou_each": overlaps.mean(dim=1).numpy(),
            "agreement": alike,
        }


def _values(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """By metric, one number an image."""
    chosen = {f"{name}_chosen": pointing.chosen(_each(rows, name))[0] for name in ("pointing", "iou")}
    values = {name: chosen[name] if name in chosen else np.array([row[name] for row in rows]) for name in METRICS}
    return {name: row * (1 if name == "agreement" else 100) for name, row in values.items()}


def _each(rows: Sequence[Row], name: str) -> np.ndarray:
    """(n, m) float64."""
    return np.stack([row[f"{name}_each"] for row in rows]).astype(np.float64)


def _noise(like: Float[Tensor, "b m h w"], generator: torch.Generator) -> Float[Tensor, "b m h w"]:
    b, m, h, w = like.shape
    return alignment_maps(torch.randn(b, h * w, m, generator=generator)).unflatten(2, (h, w))


def _of_chance(where: Regions) -> Row:
    """Of maps that are the same everywhere: pixels drawn at random."""
    counted = where.counted.sum()
    share = float(where.each.any(dim=0).sum() / counted)
    iou = float(pointing.chance_iou(where.each.flatten(1).sum(dim=1) / counted).mean())
    points = {f"pointing{which}": share for which in ("", "_sharpest", "_best")}
    return {**points, "pointing_each": [share], "iou_best": iou, "iou_each": [iou], "agreement": np.nan}
