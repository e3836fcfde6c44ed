"""The labelled data of each seed: a split that is drawn is drawn anew for each, and so is a share of the labels."""

from __future__ import annotations

from lewel.config import Evaluation
from lewel.console import Console
from lewel.errors import UserError
from lewel.evaluate import labelled, subset
from lewel.evaluate.parts import Divided, Labelled
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.tasks import Finetune


def open_labelled(options: Evaluation, protocol: Protocol, console: Console) -> dict[int, Divided[Labelled]]:
    """By seed. Raises UserError for data or flags that the protocol cannot take."""
    if options.subset is not None and not (isinstance(protocol.task, Finetune) and protocol.task.fraction < 1):
        raise UserError(f"--subset {options.subset}: {protocol.base} takes all labels; leave it out")

    def opened(seed: int) -> Divided[Labelled]:
        return labelled.open_divided(options.data, options.split, options.group_by, options.val_share, seed)

    data, parts = opened(options.seed), dict[int, Divided[Labelled]]()
    for note in data.notes:
        console.print(note)
    _check_targets(protocol, data)
    for seed in range(options.seed, options.seed + options.seeds):
        if options.split == "auto" and seed != options.seed:
            data = opened(seed)
        parts[seed] = _part(options, protocol, data, seed)
    return parts


def _part(options: Evaluation, protocol: Protocol, data: Divided[Labelled], seed: int) -> Divided[Labelled]:
    """The data with the share of the training images that the protocol takes."""
    task = protocol.task
    if not isinstance(task, Finetune) or task.fraction == 1:
        return data
    train, listed = data.train, options.subset
    chosen = subset.by_share(train, task.fraction, seed) if listed is None else subset.by_list(train, listed)
    subset.check_share(chosen.images, train, task.fraction)
    return Divided(chosen.images, data.val, {**data.facts, "subset": chosen.facts}, data.notes)


def _check_targets(protocol: Protocol, data: Divided[Labelled]) -> None:
    wanted = isinstance(protocol.task, Finetune) and protocol.task.multilabel
    if wanted and not data.train.is_multilabel:
        raise UserError(f"{protocol.base} needs attributes, in CelebA's layout; --data has classes: take another task")
    if data.train.is_multilabel and not wanted:
        raise UserError(f"{protocol.base} needs classes; --data has attributes: take faces-attributes")
