"""The flags of the commands `lewel bench`. Heavy imports are inside them: `lewel --help` reads this file too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from lewel.config import Bench, LinearEpoch, Timing
from lewel.plan import Overrides

_Flat = tyro.conf.arg(name="")
_Numbers = Annotated[Overrides, _Flat]
_Bench = Annotated[Bench, _Flat]
_Timing = Annotated[Timing, _Flat]


def step(options: _Timing, numbers: _Numbers, switches: bool = False) -> None:
    """A training step on views that are ready, against the one-file version, or lightly's BYOL or MoCo.

    Args:
        switches: also without each thing that makes it fast, and with torch.compile
    """
    from lewel.bench import commands

    commands.bench_step(options, numbers, switches)


def memory(options: _Bench, numbers: _Numbers, switches: bool = False) -> None:
    """The peak memory of a training step, and what of it an image takes.

    Args:
        switches: also without each thing that makes it fast, and with torch.compile
    """
    from lewel.bench import commands

    commands.bench_memory(options, numbers, switches)


def train(
    options: _Timing,
    numbers: _Numbers,
    data: str | None = None,
    workers: int | None = None,
    executors: tuple[Literal["pillow", "tensor", "resident"], ...] = ("pillow",),
) -> None:
    """Training from image files: images a second, and how long it waits for data.

    Args:
        data: folder of images; by default JPEGs of 500 x 375 pixels that it makes, a few batches
        workers: processes that decode and augment; by default as in `lewel pretrain`
        executors: what makes the views
    """
    from lewel.bench import commands

    commands.bench_train(options, numbers, data, workers, executors)


def cost(
    options: _Timing,
    numbers: _Numbers,
    data: str | None = None,
    workers: int | None = None,
    vary_dim: tuple[int, ...] = (128, 512),
    vary_groups: tuple[int, ...] = (2, 8),
) -> None:
    """What LEWEL adds to MoCo v2 and BYOL: time, memory and parameters (Table 9), for other d and h too.

    Args:
        data: folder of images; by default views that are ready, so without waiting for data
        workers: processes that decode and augment, with --data; by default as in `lewel pretrain`
        vary_dim: other values of d, the number of maps; the flag without a value: none
        vary_groups: other values of h, the groups of channels; the flag without a value: none
    """
    from lewel.bench import commands

    commands.bench_cost(options, numbers, data, workers, vary_dim, vary_groups)


def data(
    recipe: str = "lewel_b_in1k_100ep",
    data: str | None = None,
    images: int = 32,
    rounds: int = 7,
    threads: int = 1,
    json: Path | None = None,
) -> None:
    """From image files to two normalised views, against what anybody would write.

    Args:
        recipe: whose views, and their size
        data: folder of images, index, or CIFAR-10's binary files; by default JPEGs of 500 x 375 pixels that it makes
        images: in a unit of work
        rounds: each measures every contender twice
        threads: that PyTorch may use
        json: file for every figure
    """
    from lewel.bench import commands

    commands.bench_data(recipe, data, images, rounds, threads, json)


def executors(
    recipe: str = "lewel_b_in1k_100ep", data: str | None = None, images: int = 1000, json: Path | None = None
) -> None:
    """How far the tensors' views are from Pillow's, operation by operation.

    Args:
        recipe: whose views, and their size
        data: folder of images, or index; by default JPEGs of 500 x 375 pixels that it makes
        images: how many, evenly
        json: file for every figure
    """
    from lewel.bench import commands

    commands.bench_executors(recipe, data, images, json)


def linear(options: Annotated[LinearEpoch, _Flat]) -> None:
    """An epoch of linear evaluation with its grid of 32 classifiers, against the bare encoder over the same crops."""
    from lewel.bench import commands

    commands.bench_linear(options)
