"""From what the workers answer to batches: on the device, with the colours that are left to do, normalised."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lewel import config
from lewel.data import packed, tensors
from lewel.data.serving import Drawn
from lewel.data.tensors import to_device
from lewel.shapes import Batch, View


def finished(
    source: Generator[Drawn],
    mean: config.ImageStats,
    std: config.ImageStats,
    device: torch.device,
    compiled: bool = False,
) -> Generator[Batch]:
    """compiled: the colours by torch.compile, with the same result. Closes the source with itself."""
    normalise = Normalise(mean, std, device)
    with closing(source):
        for drawn in source:
            views = tuple(
                View(
                    _coloured(drawn, number, to_device(pixels, device), normalise, compiled),
                    None if drawn.geometry is None else to_device(drawn.geometry[number], device),
                )
                for number, pixels in enumerate(drawn.pixels)
            )
            yield Batch(views, drawn.indices, drawn.skipped)


def _coloured(
    drawn: Drawn, number: int, pixels: UInt8[Tensor, "b h w c"], normalise: Normalise, compiled: bool
) -> Float[Tensor, "b 3 h w"]:
    if not drawn.colours:
        return normalise(pixels.permute(0, 3, 1, 2))
    coloured = tensors.apply(packed.from_bytes(pixels), drawn.colours[number], compiled)
    return tensors.normalised(coloured, normalise.mean, normalise.std, compiled)


class Normalise:
    """(pixels / 255 - mean) / std, float32, in channels-last memory; pixels that are in such memory go row by row.

    Made once for all batches: the constants' way to a GPU waits for all that it has to do.
    """

    def __init__(self, mean: config.ImageStats, std: config.ImageStats, device: torch.device) -> None:
        self.mean, self.std = (torch.tensor(each, device=device) for each in (mean, std))

    def __call__(self, pixels: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        width = pixels.shape[3]
        rows = pixels.permute(0, 2, 3, 1).flatten(2).to(torch.float32)  # of three values each, they would be slow
        values = rows.div_(255).sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return values.unflatten(2, (width, 3)).permute(0, 3, 1, 2)
