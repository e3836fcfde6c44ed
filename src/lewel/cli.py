"""Self-supervised visual pretraining that learns where to look (LEWEL, CVPR 2022)."""

# Flags to calls, errors to one line and exit code 2. Heavy imports are inside the commands.

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lewel.bench import flags as bench
from lewel.config import Evaluation, Extraction, Options
from lewel.errors import UserError, nearest
from lewel.evaluate.changes import Changes
from lewel.plan import Overrides
from lewel.prepare import flags as prepare

_Flat = tyro.conf.arg(name="")
_Numbers = Annotated[Overrides, _Flat]
_Extraction = Annotated[Extraction, _Flat]
_RecipeName = Annotated[
    tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE", help="a name from `lewel recipes`, or FILE.py:FUNCTION")
]


def demo(out: Path = Path("lewel-demo"), method: str = "lewel_m", seed: int = 0) -> None:
    """Everything in a few minutes, on images it makes itself: pretrain, kNN and linear-fast, maps, report.

    Args:
        out: directory for the images and the run
        method: moco_v2, byol, lewel_m or lewel_b
        seed: of weights, order and augmentation
    """
    from lewel.demo import demo as run

    run(out, method, seed)


def list_recipes(filter: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TEXT")] = "") -> None:
    """What there is, one line each.

    Args:
        filter: only recipes with this in their name, such as tiny or lewel_b
    """
    from rich.console import Console
    from rich.table import Column, Table

    from lewel import recipes

    rows = [row for row in recipes.describe() if filter in row.name]
    if not rows:
        raise UserError(f"no recipe has {filter!r} in its name; `lewel recipes` lists all")
    table = Table(Column("recipe", no_wrap=True), "epochs", "batch", "px", "what", "paper", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, str(row.epochs), str(row.batch_size), str(row.image_size), row.note, row.paper)
    Console().print(table, highlight=False)


def pretrain(recipe: _RecipeName, options: Annotated[Options, _Flat], numbers: _Numbers) -> None:
    """Train an encoder on images without labels. The same command on the same --run goes on where it stopped.

    Exit code 0: done; 2: something does not fit, one line says what; 75: stopped by a signal or Ctrl-C, and saved.
    """
    from lewel.pretrain import pretrain as run

    run(recipe, options, numbers)


def views(
    recipe: _RecipeName,
    data: str,
    numbers: _Numbers,
    out: Path = Path("views.png"),
    images: int = 6,
    seed: int = 0,
) -> None:
    """A picture of the augmented crops that a recipe will train on.

    Args:
        data: folder of images, list file, index or shards
        out: PNG to write
        images: how many images to show
        seed: which images, and which crops of them
    """
    from lewel.visualize.commands import save_views

    save_views(recipe, data, numbers, out, images, seed)


def maps(
    run: str,
    data: str,
    out: Path = Path("maps.png"),
    images: int = 6,
    indices: tuple[int, ...] = (),
    size: int | None = None,
    seed: int = 0,
) -> None:
    """Where a run looks: its alignment maps over photographs, beside those before training.

    Args:
        run: directory of a run
        data: folder of images, list file, index or shards
        out: PNG to write
        images: how many images to show, 6 or more
        indices: which maps; by default those that say most
        size: pixels at which the images are shown to the encoder; by default twice the training's
        seed: which images
    """
    from lewel.visualize.commands import save_maps

    save_maps(Path(run), data, out, images, indices, size, seed)


def compare(
    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")],
    out: Path = Path("curves.png"),
) -> None:
    """Runs side by side: a table of cost and evaluations on the screen, and their curves as a picture.

    Args:
        runs: directories of runs, four at most
        out: PNG to write
    """
    from lewel.visualize.commands import save_comparison

    if not runs:
        raise UserError("no run given: lewel compare RUN RUN --out curves.png")
    save_comparison(runs, out)


def evaluate(
    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")] = "",
    *,
    options: Annotated[Evaluation, _Flat] = Evaluation(),  # noqa: B008  (frozen)
    changes: Annotated[Changes, _Flat] = Changes(),  # noqa: B008
    list: bool = False,
) -> None:
    """What an encoder is worth: kNN, linear, fine-tuning, detection, segmentation, faces and more, by named protocols.

    Args:
        task: a name from `lewel evaluate --list`
        list: what tasks there are, one line each
    """
    from lewel.evaluate import commands

    if list or not task:
        commands.list_tasks()
    else:
        commands.evaluate(task, options, changes)


def embed(options: _Extraction, out: Path, split: Literal["train", "val", "all"] = "all") -> None:
    """The features of images, with their paths and classes, in one file, .npz or .parquet.

    Args:
        out: file to write
        split: which part of --data
    """
    from lewel.evaluate.embed import embed as run

    run(options, out, split)


def neighbours(
    options: _Extraction,
    out: Path = Path("neighbours.html"),
    queries: int = 32,
    nearest: int = 8,
    seed: int = 0,
    gallery: int = 20_000,
) -> None:
    """A page of images and those nearest to them, under random, initial and trained weights side by side.

    Args:
        out: page to write
        queries: how many images, of val where there is one
        nearest: how many for each
        seed: which images, and the random weights
        gallery: images to search, at most, of train where there is one
    """
    from lewel.visualize.commands import save_neighbours

    save_neighbours(options, out, queries, nearest, seed, gallery)


def export(
    weights: str,
    to: Literal["torchvision", "timm", "detectron2", "mmseg", "safetensors", "onnx"],
    out: Path,
    data: str | None = None,
) -> None:
    """An encoder as a file for another tool, read back and compared before it stands.

    Args:
        weights: a run, a file, timm:NAME=FILE or timm:NAME
        to: the tool; mmseg is for mmdetection and all of MMEngine too
        out: file to write, .pth, .pkl (detectron2), .safetensors or .onnx; a file that lewel export wrote is replaced
        data: images to compare the features on; by default some that it makes itself
    """
    from lewel.interop.commands import save_export

    save_export(weights, to, out, data)


COMMANDS = {
    "demo": demo,
    "recipes": list_recipes,
    "pretrain": pretrain,
    "views": views,
    "maps": maps,
    "compare": compare,
    "evaluate": evaluate,
    "embed": embed,
    "neighbours": neighbours,
    "export": export,
    "bench step": bench.step,
    "bench data": bench.data,
    "bench train": bench.train,
    "bench memory": bench.memory,
    "bench cost": bench.cost,
    "bench executors": bench.executors,
    "bench linear": bench.linear,
    "data index": prepare.index,
    "data subset": prepare.subset,
    "data pack": prepare.pack,
    "data voc-aug": prepare.voc_aug,
}


def _run(arguments: list[str]) -> None:
    """Only the command that is asked for is looked at: all of them would take half a second to answer --help."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(COMMANDS))
        return
    name, rest = arguments[0], arguments[1:]
    parts = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if parts:
        if not rest or rest[0] in ("-h", "--help"):
            print(_overview(parts))
            return
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}{nearest(name, COMMANDS) or '; `lewel --help` lists all'}")
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    tyro.cli(COMMANDS[name], prog=f"lewel {name}", args=rest, config=config)


def _overview(names: Collection[str]) -> str:
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {(COMMANDS[name].__doc__ or '').splitlines()[0]}" for name in names]
    return "\n".join([f"usage: lewel COMMAND ...\n\n{__doc__}\n", *lines, "\n`lewel COMMAND --help` has its flags."])


def main() -> None:
    """The `lewel` command. Exit codes: 0, 2 for a user's mistake, 75 for a run that was asked to stop and saved."""
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        print("lewel: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # UserError, and Interrupted, whose module imports torch
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        if not getattr(error, "told_elsewhere", False):
            print(f"lewel: {error}", file=sys.stderr)
        sys.exit(code)
