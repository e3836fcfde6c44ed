"""Self-supervised visual pretraining that learns where to look (LEWEL, CVPR 2022)."""

# Flags to calls, errors to one line and exit code 2. Heavy imports are inside the commands.

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lewel import api, arguments
from lewel.bench import flags as bench
from lewel.config import Evaluation, Extraction, Options
from lewel.errors import UserError, line_of, nearest
from lewel.evaluate.changes import Changes
from lewel.plan import Overrides
from lewel.prepare import flags as prepare
from lewel.recipes import OTHERS
from lewel.terminal import complain, say, unbreakable

_Flat = tyro.conf.arg(name="")
_Numbers = Annotated[Overrides, _Flat]

# other names of flags, hidden: torchrun takes --run for its own --run-path, and --log for its --log-dir
_RENAMED = {"pretrain": {"--run": "--out", "--log": "--logger"}}


@dataclass(frozen=True)
class _Pretraining(Options):
    run: Annotated[str, tyro.conf.arg(name="out")]  # directory of the run; the same command goes on there
    log: Annotated[tuple[str, ...], tyro.conf.arg(name="logger"), tyro.conf.UseAppendAction] = ()


_Extraction = Annotated[Extraction, _Flat]
_RecipeName = Annotated[
    tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE", help=f"a name from `lewel recipes`, {OTHERS}")
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
    from lewel import recipes
    from lewel.console import Column, Console, Table

    rows = [row for row in recipes.describe() if filter in row.name]
    if not rows:
        raise UserError(f"no recipe has {filter!r} in its name; `lewel recipes` lists all")
    table = Table(Column("recipe", no_wrap=True), "epochs", "batch", "px", "what", "paper", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, str(row.epochs), str(row.batch_size), str(row.image_size), row.note, row.paper)
    Console().print(table)


def pretrain(recipe: _RecipeName, options: Annotated[_Pretraining, _Flat], numbers: _Numbers) -> None:
    """Train an encoder on images without labels. The same command on the same --out goes on where it stopped.

    Exit code 0: done; 2: something does not fit, one line says what; 75: stopped by a signal or Ctrl-C, and saved.
    srun passes the code on; torchrun itself ends with 1 for any code but 0, and gives a run that it stops 30 s to save.
    """
    api.pretrain(recipe, data=options.data, out=options.run, **_keywords(options, "data", "run"), **_keywords(numbers))


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
    api.maps(run, data=data, out=out, images=images, indices=indices, size=size, seed=seed)


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
    if list or not task:
        from lewel.evaluate.commands import list_tasks

        list_tasks()
    else:
        given = _keywords(options, "weights", "data", "out") | _keywords(changes)
        api.evaluate(task, weights=options.weights, data=options.data, out=options.out, **given)


def embed(options: _Extraction, out: Path, split: Literal["train", "val", "all"] = "all") -> None:
    """The features of images, with their paths and classes, in one file, .npz or .parquet.

    Args:
        out: file to write
        split: which part of --data
    """
    given = _keywords(options, "weights", "data")
    api.embed(weights=options.weights, data=options.data, out=out, split=split, **given)


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
    api.export(weights, to, out, data)


def _keywords(flags: Any, *others: str) -> dict[str, Any]:
    """The flags that were given, but for `others`, as keywords of the API."""
    given = {field.name: (getattr(flags, field.name), field.default) for field in dataclasses.fields(flags)}
    return {name: value for name, (value, default) in given.items() if name not in others and value != default}


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


def _run(given: list[str]) -> None:
    """Only the command that is asked for is looked at: all of them would take half a second to answer --help."""
    if not given or given[0] in ("-h", "--help"):
        say(*_overview(COMMANDS))
        return
    name, rest = given[0], given[1:]
    parts = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if parts:
        if not rest or rest[0] in ("-h", "--help"):
            say(*_overview(parts))
            return
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}{nearest(name, COMMANDS) or '; `lewel --help` lists all'}")
    call = arguments.parse(COMMANDS[name], f"lewel {name}", rest, _RENAMED.get(name, {}))
    from lewel.console import Console, warnings_on  # 0.1 s that --help can do without

    with warnings_on(Console(stderr=True)):
        call()


def _overview(names: Collection[str]) -> list[str]:
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {(COMMANDS[name].__doc__ or '').splitlines()[0]}" for name in names]
    head = ["usage: lewel COMMAND ...", "", *(__doc__ or "").splitlines(), ""]
    return [*head, *lines, "", "`lewel COMMAND --help` has its flags."]


def main() -> None:
    """The `lewel` command. Exit codes: 0, 2 for a user's mistake, 75 for a run that was asked to stop and saved."""
    with unbreakable():
        try:
            _run(sys.argv[1:])
        except KeyboardInterrupt:
            complain("lewel: stopped")
            sys.exit(130)
        except Exception as error:  # UserError, and Interrupted, whose module imports torch
            line = line_of(error)
            if line is None:
                raise
            if not getattr(error, "told_elsewhere", False):
                complain(f"lewel: {line}")
            code = getattr(error, "exit_code", UserError.exit_code)
            if getattr(error, "leave_at_once", False):
                os._exit(code)
            sys.exit(code)
