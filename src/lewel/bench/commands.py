"""`lewel bench`: from flags to a table on the screen and a file."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from rich.console import Console

from lewel import recipes
from lewel.bench import compare, data, executors
from lewel.engine import memory
from lewel.errors import UserError


def bench_data(recipe: str, folder: str | None, images: int, rounds: int, threads: int, out: Path | None) -> None:
    """Raises UserError for numbers below 1, an unknown recipe, or too few images."""
    for name, value in (("images", images), ("threads", threads)):
        if value < 1:
            raise UserError(f"--{name} {value}: must be 1 or more")
    chosen = recipes.get(recipe).data
    memory.keep_freed()  # as a training run does
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = data.measure(chosen, folder, images, rounds)
        machine = compare.machine()
    finally:
        torch.set_num_threads(before)
    title = f"two views of {chosen.image_size} px, {recipe}; {machine['processor']}, {threads} thread(s)"
    Console().print(compare.table(title, results), highlight=False)
    if out is not None:
        settings = {"recipe": recipe, "data": folder, "images": images, "rounds": rounds, "threads": threads}
        compare.save(out, " ".join(sys.argv), settings, [compare.as_dict(result) for result in results])
        print(f"wrote {out}")


def bench_executors(recipe: str, folder: str | None, images: int, out: Path | None) -> None:
    """Raises UserError for numbers below 1, an unknown recipe, or too few images."""
    if images < 1:
        raise UserError(f"--images {images}: must be 1 or more")
    chosen = recipes.get(recipe).data
    with data.images_of(folder, images) as found:
        differences = executors.measure(found, chosen)
    title = f"tensors against Pillow, levels of 255: {images} images, {chosen.image_size} px, {recipe}"
    Console().print(executors.table(title, differences), highlight=False)
    if out is not None:
        settings = {"recipe": recipe, "data": folder, "images": images}
        compare.save(out, " ".join(sys.argv), settings, executors.as_rows(differences))
        print(f"wrote {out}")
