"""`lewel views`, `lewel maps` and `lewel compare`: from recipes, runs and folders to a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from lewel import plan, recipes
from lewel.data.decode import DecodeError
from lewel.data.images import Images, is_divided, open_images
from lewel.errors import UserError
from lewel.interop import runs
from lewel.visualize import compare, maps, style, views


def save_views(recipe: str, data: str, numbers: plan.Overrides, out: Path, count: int, seed: int) -> None:
    """The views of `count` images, as the recipe with these numbers draws them. On a UserError nothing is written."""
    _check(out, count)
    images = open_images(data, "train" if is_divided(data) else None)
    chosen = plan.resolve(
        recipes.get(recipe), numbers, max(len(images), 10**7)
    ).recipe  # the batch does not matter here
    figure = views.views_figure(pick(images, count, seed), chosen.data, seed, count)
    views.save(figure, out)
    print(f"wrote {out}")


def save_maps(run: Path, data: str, out: Path, count: int, indices: Sequence[int], size: int | None, seed: int) -> None:
    """The alignment maps of a run over `count` images. On a UserError nothing is written."""
    _check(out, count)
    loaded = runs.load(run)
    images = open_images(data, "val" if is_divided(data) else None)
    figure = maps.maps_figure(
        loaded.trained,
        loaded.initial,
        pick(images, count, seed),
        loaded.recipe.data,
        list(indices) or None,
        size=size,
        seed=seed,
    )
    maps.save(figure, out)
    print(f"wrote {out}")


def save_comparison(directories: Sequence[Path], out: Path) -> None:
    """The curves of several runs in one picture, and their table on the screen. On a UserError nothing is written."""
    _check(out)
    runs = [compare.read(directory) for directory in directories]
    figure = compare.figure(runs)
    style.save(figure, out)
    Console().print(compare.table(runs), highlight=False)
    print(f"wrote {out}")


def pick(images: Images, count: int, seed: int) -> list[Image.Image]:
    """`count` readable images, chosen by the seed, one class after the other where there are classes."""
    order = np.random.default_rng(seed).permutation(len(images))
    if images.labels is not None:
        labels = images.labels[order]
        turn = [int((labels[:i] == label).sum()) for i, label in enumerate(labels[: 10 * len(set(labels.tolist()))])]
        order = order[np.argsort(turn, kind="stable")]
    found: list[Image.Image] = []
    for index in order:
        if len(found) == count:
            break
        try:
            found.append(images.read(int(index)))
        except DecodeError:
            continue
    return found


def _check(out: Path, count: int = 1) -> None:
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: a name that ends in .png is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist")
    if count < 1:
        raise UserError(f"--images {count}: must be 1 or more")
