"""Images to the vectors that a frozen network makes of them: one central crop each, in eval mode.

Whatever is measured on frozen features takes them from here. Nothing changes: no weights, no running statistics, no
modes, no random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lewel import config
from lewel.console import Console
from lewel.data.decode import printable
from lewel.data.images import Source
from lewel.data.loader import evaluation_batches
from lewel.data.workers import default_workers
from lewel.engine.precision import Precision, choose, device
from lewel.engine.progress import Progress
from lewel.errors import UserError
from lewel.model.modes import evaluating
from lewel.shapes import Batch, Skip

BATCH = 256


def means(options: config.Extraction) -> tuple[Precision, int]:
    """The device and format, and the number of workers, that the flags ask for. Raises UserError."""
    if options.workers is not None and options.workers < 0:
        raise UserError(f"--workers {options.workers}: must be 0 or more")
    on = device(options.device)
    return choose(options.precision, on), default_workers(on) if options.workers is None else options.workers


class Rows(NamedTuple):
    """Features of a few images, fp32, on the network's device, and the images' indices."""

    features: Float[Tensor, "b c"]
    indices: Int[Tensor, " b"]


def extract(
    features: nn.Module,
    images: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
    console: Console | None = None,
) -> tuple[Float[Tensor, "n c"], Int[Tensor, " n"]]:
    """All images' features, fp32, in the order of the images, and the indices of those that could be read.

    features: images (b, 3, h, w) -> (b, c), such as `Subject.features`, on precision's device, where the results are.
    data: image_size, mean and std are read.   skipped: takes the images that could not be read.
    console: where to show progress, speed and time left.
    Raises UserError when no image can be read, and for features that are not finite: the image, and the first layer.
    """
    kept = Kept(len(images))
    for rows in batches(features, images, data, precision, workers, skipped, console):
        kept.add(rows)
    return kept.features(), kept.indices()


def labelled_features(
    features: nn.Module,
    images: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
    console: Console | None = None,
) -> tuple[Float[Tensor, "n c"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """As `extract`, with the labels, which the images must have, before the indices."""
    assert images.labels is not None
    rows, indices = extract(features, images, data, precision, workers, skipped, console)
    return rows, torch.from_numpy(images.labels).to(rows.device)[indices], indices


class Kept:
    """Features as they come, in memory that is taken once: at most `most` rows, in the memory of `device`.

    device: by default the first rows'.
    """

    def __init__(self, most: int, device: torch.device | None = None):
        self.most, self.device, self.count = most, device, 0
        self._rows: Tensor | None = None

    def add(self, rows: Rows) -> None:
        if self._rows is None:
            device = self.device or rows.features.device
            self._rows = torch.empty(self.most, rows.features.shape[1], device=device)
            self._indices = torch.empty(self.most, dtype=torch.int64, device=device)
        here = slice(self.count, self.count + len(rows.indices))
        self._rows[here], self._indices[here] = rows.features, rows.indices
        self.count = here.stop

    def features(self) -> Float[Tensor, "n c"]:
        """Raises UserError where there are none."""
        if self._rows is None or not self.count:
            raise UserError("none of the images to evaluate on can be read; give others in --data")
        return self._rows[: self.count]

    def indices(self) -> Int[Tensor, " n"]:
        return self._indices[: self.count]


def batches(
    features: nn.Module,
    images: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
    console: Console | None = None,
) -> Iterator[Rows]:
    """As `extract`, a batch at a time. Close it where not all are wanted: the network is in eval mode until then."""
    drawn = evaluation_batches(images, data.image_size, BATCH, workers, data.mean, data.std, precision.device)
    progress = Progress(len(images), console=console, unit="image") if console is not None else None
    began, seen = time.monotonic(), 0
    with evaluating(features), closing(drawn), progress or nullcontext():
        for batch in drawn:
            if skipped is not None:
                skipped += batch.skipped
            if len(batch.indices):
                yield Rows(encode(features, batch, precision, images), batch.indices)
            seen += len(batch.indices) + len(batch.skipped)
            if progress is not None:
                speed = seen / max(time.monotonic() - began, 1e-9)
                progress.show({"step": seen, "images_per_s": speed, "left_s": (len(images) - seen) / speed})


@torch.no_grad()
def encode(features: nn.Module, batch: Batch, precision: Precision, images: Source) -> Float[Tensor, "b c"]:
    """A batch's features, by a network that is in eval mode. Raises UserError as `extract`.

    A large batch goes through the network in parts: its images do not see each other, and the memory holds the maps.
    """
    pixels = batch.views[0].pixels
    with precision.autocast():
        rows = torch.cat([features(part).float() for part in pixels.split(BATCH)])
    finite = rows.isfinite().all(dim=1)
    if not finite.all():
        first = int(finite.int().argmin())
        path = printable(images.path(int(batch.indices[first])))
        layer = first_not_finite(features, pixels[first : first + 1], precision)
        raise UserError(
            f"features of {path} are not finite, first in {layer}; the weights hold values that are not finite, or "
            f"overflow in {precision.name}: give other --weights, or --precision fp32"
        )
    return rows


@torch.no_grad()
def first_not_finite(features: nn.Module, pixels: Float[Tensor, "b 3 h w"], precision: Precision) -> str:
    """The name of the layer, inside the backbone, whose output is the first that is not finite; in eval mode."""
    found: list[str] = []
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: _note(found, name, out))
        for name, part in features.named_modules()
    ]
    try:
        with torch.compiler.set_stance("force_eager"), precision.autocast(), evaluating(features):
            features(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0].removeprefix("encoder.").removeprefix("backbone.") if found and found[0] else "the pooling"


def _note(found: list[str], name: str, out: object) -> None:
    if isinstance(out, Tensor) and not out.isfinite().all():
        found.append(name)
