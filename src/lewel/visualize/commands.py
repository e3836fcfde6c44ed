"""`lewel views`, `maps`, `compare` and `neighbours`: from recipes, runs, weights and folders to a picture or a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from lewel import plan, recipes
from lewel.config import Extraction
from lewel.console import Console
from lewel.data import own_pictures
from lewel.data.decode import DecodeError
from lewel.data.folder import Files
from lewel.data.images import Images, Source, is_divided, mixed, open_images
from lewel.engine import files
from lewel.errors import UserError
from lewel.evaluate.neighbours import find
from lewel.interop import runs
from lewel.terminal import say
from lewel.visualize import compare, maps, neighbours, style, views


def save_views(recipe: str, data: str, numbers: plan.Overrides, out: Path, count: int, seed: int) -> None:
    """The views of `count` images, as the recipe with these numbers draws them. On a UserError nothing is written."""
    _check_out(out)
    _check_numbers(1, images=count)
    _check_numbers(0, seed=seed)
    images = open_images(data, "train" if is_divided(data) else None)
    _check_not_among(out, images)
    chosen = plan.resolve(
        recipes.get(recipe), numbers, max(len(images), 10**7)
    ).recipe  # the batch does not matter here
    figure = views.views_figure(pick(images, count, seed), chosen.data, seed, count)
    views.save(figure, out)
    say(f"wrote {out}")


def save_maps(
    run: Path, data: str, out: Path | None, count: int, indices: Sequence[int], size: int | None, seed: int
) -> Figure:
    """The alignment maps of a run over `count` images, in `out` too unless it is None. On a UserError nothing is."""
    if out is not None:
        _check_out(out)
    _check_numbers(1, images=count)
    _check_numbers(0, seed=seed)
    loaded = runs.load(run)
    images = open_images(data, "val" if is_divided(data) else None)
    if out is not None:
        _check_not_among(out, images)
    figure = maps.maps_figure(
        loaded.trained,
        loaded.initial,
        pick(images, count, seed),
        loaded.recipe.data,
        list(indices) or None,
        size=size,
        seed=seed,
    )
    if out is not None:
        maps.save(figure, out)
        say(f"wrote {out}")
    return figure


def save_comparison(directories: Sequence[Path], out: Path) -> None:
    """The curves of several runs in one picture, and their table on the screen. On a UserError nothing is written."""
    _check_out(out)
    runs = [compare.read(directory) for directory in directories]
    figure = compare.figure(runs)
    style.save(figure, out)
    Console().print(compare.table(runs))
    say(f"wrote {out}")


def save_neighbours(options: Extraction, out: Path, queries: int, nearest: int, seed: int, gallery: int) -> None:
    """A page of images and those nearest to them. On a UserError it is not written."""
    _check_out(out, ".html")
    _check_numbers(1, queries=queries, nearest=nearest, gallery=gallery)
    _check_numbers(0, seed=seed)
    found = find(options, queries, nearest, seed, gallery, Console(stderr=True))
    files.deliver(out, neighbours.page(found).encode("utf-8", "backslashreplace"))
    say(f"wrote {out}: {neighbours.in_words(found)}")


def pick(images: Images, count: int, seed: int) -> list[Image.Image]:
    """`count` readable images, chosen by the seed, one class after the other where there are classes."""
    found: list[Image.Image] = []
    for index in mixed(images, seed):
        if len(found) == count:
            break
        try:
            found.append(images.read(int(index)))
        except DecodeError:
            continue
    return found


def _check_not_among(out: Path, images: Source) -> None:
    """Raises UserError for a picture among the images that a later scan would take for one of them."""
    is_own = not isinstance(images, Files) or out.name in own_pictures.NAMES
    if not is_own and Path(images.root).resolve() in out.resolve().parent.parents:
        raise UserError(f"--out {out} lies among the images of --data, and would be trained on; give a name elsewhere")


def _check_out(out: Path, ending: str = ".png") -> None:
    if out.suffix.lower() != ending:
        raise UserError(f"--out {out}: a name that ends in {ending} is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist")
    files.check_writable(out)


def _check_numbers(least: int, **numbers: int) -> None:
    """Raises UserError for a number, named as its flag, that is less."""
    for flag, value in numbers.items():
        if value < least:
            raise UserError(f"--{flag} {value}: must be {least} or more")
