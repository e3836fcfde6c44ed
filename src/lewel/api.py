"""The Python API: what the commands do, as functions. The command line calls these and nothing else.

Each takes the flags of its command as keywords, prints what the command prints, and raises UserError, in one line, for
all that does not fit. Importing this module imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from lewel import keywords, recipes
from lewel.config import Evaluation, Extraction, Options, Recipe
from lewel.errors import UserError
from lewel.evaluate.changes import Changes
from lewel.plan import Overrides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lewel.data.images import Source
    from lewel.data.objects import Items
    from lewel.data.splits import Split
    from lewel.engine.loop import Step
    from lewel.engine.record import Logger
    from lewel.evaluate.embed import FeatureTable
    from lewel.evaluate.results import Result
    from lewel.interop.export import Exported
    from lewel.interop.runs import Run

    Data = str | os.PathLike[str] | Items | Mapping[str, Items]
    Weights = str | os.PathLike[str] | Run

PathLike = str | os.PathLike[str]


def pretrain(
    recipe: PathLike | Recipe,
    *,
    data: Data,
    out: PathLike,
    callbacks: Iterable[Callable[[Step], None]] = (),
    loggers: Iterable[Logger] = (),
    **numbers: Unpack[keywords.Pretraining],
) -> Run:
    """Train an encoder on images without labels, or go on with the run in `out`.

    Args:
        recipe: a name from `lewel.recipes.names()`, FILE.py:FUNCTION, a run whose recipe is meant, or a `lewel.Recipe`
        data: folder of images, list file, index or shards; or a data set in memory: a torch Dataset, a Hugging Face
            dataset, an array, a list of PIL images, or a dict of such under "train" and "val"
        out: directory of the run; the same call on the same directory goes on where it stopped
        callbacks: called with a `lewel.Step` after every optimizer step, rejected ones too, in the main process of each
            rank; reading a tensor of the step waits for the device
        loggers: objects with `write(row)` and `close()`, beside metrics.jsonl and those of `log`; rank 0 uses its own
        numbers: the flags of `lewel pretrain`: the recipe's numbers and the options of the run

    Returns:
        The run in `out`.

    Raises:
        UserError: for all that does not fit, before anything is written.
        Interrupted: where a signal or Ctrl-C stopped the run, which is saved.
    """
    given = keywords.checked("pretrain", keywords.Pretraining, numbers)
    options = keywords.fields_of(Options, given, data=_data(data), run=keywords.path_of("out", out))
    after, others = _callables(callbacks), keywords.sequence_of("loggers", loggers, "objects with write and close")
    from lewel.interop.runs import Run
    from lewel.pretrain import pretrain as train

    train(_recipe(recipe), options, keywords.fields_of(Overrides, given), callbacks=after, loggers=others)
    return Run(Path(options.run))


def load_run(run: PathLike) -> Run:
    """Open a run that `pretrain` wrote: its recipe, encoder, method and metrics, each read when it is first used.

    Raises:
        UserError: where there is none.
    """
    directory = keywords.path_of("run", run)
    from lewel.interop.runs import Run

    return Run(Path(directory)).check()


def evaluate(
    task: str,
    *,
    weights: Weights | Sequence[Weights],
    data: Data,
    out: PathLike,
    **numbers: Unpack[keywords.Evaluating],
) -> list[Result]:
    """Measure what weights are worth, by a named protocol, and print the table.

    Args:
        task: a name from `lewel evaluate --list`, such as "knn-k20-t0.07" or "linear-fast"
        weights: a run, a file, timm:NAME, timm:NAME=FILE or random:NAME; several make one table
        data: labelled images with train and val, as the task needs them
        out: directory for results.json, tables and pictures; the same call goes on where it stopped
        numbers: the flags of `lewel evaluate`

    Returns:
        A result for each of the weights: `.metrics` by name, `.std` over the seeds, `.intervals`.

    Raises:
        UserError: for all that does not fit, before anything is written.
    """
    given = keywords.checked("evaluate", keywords.Evaluating, numbers)
    sources = tuple(_source("weights", each) for each in _several(weights))
    options = keywords.fields_of(
        Evaluation,
        given,
        weights=sources,
        data=_or_empty(data, _data),
        out=_or_empty(out, partial(keywords.path_of, "out")),
    )
    from lewel.evaluate import commands

    name = keywords.value_of("task", task, str)
    return commands.evaluate(name, options, keywords.fields_of(Changes, given))


def embed(
    *,
    weights: Weights,
    data: Data,
    out: PathLike | None = None,
    split: Literal["train", "val", "all"] = "all",
    **numbers: Unpack[keywords.Extracting],
) -> FeatureTable:
    """Extract pooled features of images, with their paths and classes.

    Args:
        weights: as for `evaluate`
        data: folder of images, list file, index or shards
        out: file to write too, .npz or .parquet
        split: which part of `data`
        numbers: the flags of `lewel embed`

    Returns:
        `.features` (n, c) float32, `.paths`, `.labels` (names of classes, or None) and `.metadata`.

    Raises:
        UserError: for weights, images or a file that cannot be used; then nothing is written.
    """
    given = keywords.checked("embed", keywords.Extracting, numbers)
    options = keywords.fields_of(Extraction, given, weights=_source("weights", weights), data=_data(data))
    part = keywords.value_of("split", split, Literal["train", "val", "all"])
    file = None if out is None else Path(keywords.path_of("out", out))
    from lewel.evaluate.embed import embed as extract

    return extract(options, file, part)


def maps(
    run: PathLike | Run,
    *,
    data: Data,
    out: PathLike | None = None,
    images: int = 6,
    indices: Sequence[int] = (),
    size: int | None = None,
    seed: int = 0,
) -> Figure:
    """Draw where a run looks: its alignment maps over photographs, beside those before training.

    Args:
        run: directory of a run
        data: folder of images, list file, index or shards
        out: PNG to write too
        images: how many images to show, 6 or more
        indices: which maps; by default those that vary most from image to image
        size: pixels at which the encoder sees the images, a multiple of 32; by default twice the training's
        seed: which images

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        UserError: for a run without maps, and images or numbers that do not fit; then nothing is written.
    """
    path, file = Path(_source("run", run)), None if out is None else Path(keywords.path_of("out", out))
    count, first = keywords.value_of("images", images, int), keywords.value_of("seed", seed, int)
    chosen = keywords.value_of("indices", indices, tuple[int, ...])
    side, source = keywords.value_of("size", size, int | None), _data(data)
    from lewel.visualize.commands import save_maps

    return save_maps(path, source, file, count, chosen, side, first)


def export(weights: Weights, to: str, out: PathLike, data: Data | None = None) -> Exported:
    """Write an encoder for another tool, read it back and compare its features before the file stands.

    Args:
        weights: as for `evaluate`
        to: torchvision, timm, detectron2, mmseg, safetensors or onnx
        out: file to write: .pth, .pkl (detectron2), .safetensors or .onnx; one that lewel exported is replaced
        data: images to compare the features on; by default some that lewel makes

    Returns:
        What was written: `.differences` of the features, and `.snippet`, Python code that loads the file.

    Raises:
        UserError: for a format that has no such network, a file that is another's, features that differ; then `out`
            stays as it was.
    """
    source, file = _source("weights", weights), Path(keywords.path_of("out", out))
    images = None if data is None else _data(data)
    form = keywords.value_of("to", to, str)
    from lewel.interop.commands import save_export

    return save_export(source, form, file, images)


def open_images(data: Data, split: Split | None = None) -> Source:
    """Open images as lewel sees them: `len`, `.read(i)` (a PIL image), `.path(i)`, `.labels` and `.classes`.

    Args:
        data: as for `pretrain`
        split: the part to take; None takes the training part of divided data, else all

    Raises:
        UserError: where there is nothing to read, or no such part.
    """
    from lewel.data import images
    from lewel.data.splits import Split

    path = _data(data)
    return images.open_images(path, keywords.value_of("split", split, Split | None))


def _data(data: object) -> str:
    """A path, or data in memory under a name. Raises UserError for what is neither."""
    if isinstance(data, str | bytes | os.PathLike):
        return keywords.path_of("data", data)
    from lewel.data.objects import named

    return named(data)


def _or_empty(value: object, read: Callable[[object], str]) -> str:
    """What `read` makes of the value; of "" the same, which the command answers with what to type."""
    return "" if isinstance(value, str) and not value else read(value)


def _several(weights: Any) -> tuple[Any, ...]:
    return tuple(weights) if isinstance(weights, list | tuple) else (weights,)


def _source(name: str, weights: object) -> str:
    """Weights as the commands take them. Raises UserError for what is no source. name: the parameter's."""
    where = getattr(weights, "directory", weights)  # of a Run
    if isinstance(where, str | os.PathLike) and isinstance(text := os.fspath(where), str) and text:
        return text
    raise UserError(f"{name}={keywords.short(weights)}: a run, a file, timm:NAME or random:NAME is needed")


def _recipe(recipe: PathLike | Recipe) -> str | Recipe:
    """Raises UserError for what is neither a name nor a Recipe."""
    name = os.fspath(recipe) if isinstance(recipe, os.PathLike) else recipe
    return name if isinstance(name, str) else recipes.get(name)


def _callables(callbacks: Any) -> tuple[Callable[[Step], None], ...]:
    """Raises UserError for what cannot be called."""
    found = keywords.sequence_of("callbacks", callbacks, "functions")
    if wrong := [each for each in found if not callable(each)]:
        raise UserError(f"callbacks: {keywords.short(wrong[0])} is no function that takes a Step")
    return found
