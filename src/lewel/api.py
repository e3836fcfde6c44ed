"""The Python API: what the commands do, as functions. The command line calls these and nothing else.

Each takes the flags of its command as keywords, prints what the command prints, and raises UserError, in one line, for
all that does not fit. Importing this module imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lewel import keywords, recipes
from lewel.config import Options, Recipe
from lewel.errors import UserError
from lewel.plan import Overrides

if TYPE_CHECKING:
    from lewel.data.images import Source
    from lewel.data.splits import Split
    from lewel.engine.loop import Step
    from lewel.interop.runs import Run

PathLike = str | os.PathLike[str]


def pretrain(
    recipe: PathLike | Recipe,
    *,
    data: PathLike,
    out: PathLike,
    callbacks: Iterable[Callable[[Step], None]] = (),
    **numbers: Unpack[keywords.Pretraining],
) -> Run:
    """Train an encoder on images without labels, or go on with the run in `out`.

    Args:
        recipe: a name from `lewel.recipes.names()`, FILE.py:FUNCTION, or a `lewel.Recipe`
        data: folder of images, list file, index or shards
        out: directory of the run; the same call on the same directory goes on where it stopped
        callbacks: called with a `lewel.Step` after every optimizer step, rejected ones too, in the main process of each
            rank; reading a tensor of the step waits for the device
        numbers: the flags of `lewel pretrain`: the recipe's numbers and the options of the run

    Returns:
        The run in `out`.

    Raises:
        UserError: for all that does not fit, before anything is written.
        Interrupted: where a signal or Ctrl-C stopped the run, which is saved.
    """
    given = keywords.checked("pretrain", keywords.Pretraining, numbers)
    options = keywords.fields_of(Options, given, data=keywords.path_of("data", data), run=keywords.path_of("out", out))
    after = _callables(callbacks)
    from lewel.interop.runs import Run
    from lewel.pretrain import pretrain as train

    train(_recipe(recipe), options, keywords.fields_of(Overrides, given), callbacks=after)
    return Run(Path(options.run))


def load_run(run: PathLike) -> Run:
    """A run that `pretrain` wrote: its recipe, encoder, method and metrics, each read when it is first used.

    Raises UserError where there is none.
    """
    directory = keywords.path_of("run", run)
    from lewel.interop.runs import Run

    return Run(Path(directory)).check()


def open_images(data: PathLike, split: Split | None = None) -> Source:
    """The images of a folder, list file, index, shards or CIFAR-10: `len`, `.read(i)`, `.path(i)`, labels and classes.

    Args:
        data: as for `pretrain`
        split: "train" or "val" take that part, and need it; None takes the part for training where there is one, else
            all

    Raises UserError where there is nothing to read.
    """
    from lewel.data import images
    from lewel.data.splits import Split

    path = keywords.path_of("data", data)
    return images.open_images(path, keywords.value_of("split", split, Split | None))


def _recipe(recipe: PathLike | Recipe) -> str | Recipe:
    """Raises UserError for what is neither a name nor a Recipe."""
    name = os.fspath(recipe) if isinstance(recipe, os.PathLike) else recipe
    return name if isinstance(name, str) else recipes.get(name)


def _callables(callbacks: Any) -> tuple[Callable[[Step], None], ...]:
    """Raises UserError for what cannot be called."""
    if not isinstance(callbacks, Iterable):
        raise UserError(f"callbacks={keywords.short(callbacks)}: a list of functions is needed")
    found = tuple(callbacks)
    if wrong := [each for each in found if not callable(each)]:
        raise UserError(f"callbacks: {keywords.short(wrong[0])} is no function that takes a Step")
    return found
