"""--lr-search: the learning rate of one set of weights, chosen on a part of train that is held out, never on val.

The paper tunes it for every method (section 4.3), as weights differ in the rate that they like. Each of a few rates
trains for a part of the schedule on the rest of train; the one with the best number takes it all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lewel.data.augment import permutation
from lewel.errors import DivergenceError, UserError
from lewel.evaluate.changes import scaled
from lewel.evaluate.dense.tasks import Iterations
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import Protocol

FACTORS = (0.5, 1.0, 2.0, 4.0)  # of the protocol's rate
LENGTH = 0.25  # of the schedule
HELD_OUT = 0.2  # of the training images
DIRECTORY = "lr-search"


class Found(NamedTuple):
    """protocol: with the rate that was chosen.  facts: the rates that were tried and what they gave."""

    protocol: Protocol
    facts: dict[str, Any]


def candidates(protocol: Protocol) -> dict[float, Protocol]:
    """By rate: the protocol with it and the shorter schedule."""
    task = protocol.task_as(Iterations)
    iterations = max(round(LENGTH * task.iterations), 1)
    found = [replace(task, lr=factor * task.lr, iterations=iterations, evaluations=1) for factor in FACTORS]
    return {each.lr: replace(protocol, task=scaled(each, task)) for each in found}


def outcomes(protocol: Protocol) -> dict[float, Protocol]:
    """By rate: the protocol where it is chosen."""
    task, rest = protocol.task_as(Iterations), tuple(each for each in protocol.changes if not each.startswith("lr="))
    return {
        rate: replace(protocol, task=scaled(replace(task, lr=rate), task), changes=(*rest, "lr_search", f"lr={rate:g}"))
        for rate in candidates(protocol)
    }


def held_out(data: Divided[Any], seed: int) -> Divided[Any]:
    """Train without a seeded part of it, and that part in the place of val. Raises UserError for too few images."""
    images = len(data.train)
    count = round(HELD_OUT * images)
    if not 0 < count < images:
        raise UserError(f"--lr-search holds out {HELD_OUT:.0%} of train, which has {images} images; give --lr instead")
    order = permutation(images, seed, 0)
    train, val = (data.train.subset(np.sort(part)) for part in (order[count:], order[:count]))
    split = {"how": "held out of train", "seed": seed, "share": HELD_OUT}
    return Divided(train, val, {**data.facts, "split": split, "train": train.facts(), "val": val.facts()})


def search(
    protocol: Protocol, ranked: tuple[str, bool], measured: Callable[[float, Protocol], dict[str, Any]]
) -> Found:
    """The best rate; of equal ones the lowest.

    ranked: the number to choose by, and whether more is better.
    measured: trains with a rate and gives its numbers. Raises UserError where no rate trains.
    """
    name, more_is_better = ranked
    tried = dict[float, float | None]()
    diverged = set[float]()
    for rate, candidate in candidates(protocol).items():
        try:
            value = measured(rate, candidate)[name]
        except DivergenceError:
            value = None
            diverged.add(rate)
        tried[rate] = value if value is not None and math.isfinite(value) else None
    finite = {rate: value for rate, value in tried.items() if value is not None}
    if not finite:
        rates = ", ".join(f"{rate:g}" for rate in tried)
        why = "trains; give a lower --lr" if diverged else f"gives {name}: the held out part is too small; give --lr"
        raise UserError(f"--lr-search: no rate of {rates} {why}")
    chosen = (max if more_is_better else min)(finite, key=lambda rate: finite[rate])
    facts = {
        "by": name,
        "held_out": HELD_OUT,
        "iterations": next(iter(candidates(protocol).values())).task_as(Iterations).iterations,
        "tried": {f"{rate:g}": value for rate, value in tried.items()},
        "diverged": [f"{rate:g}" for rate in sorted(diverged)],
        "chosen": chosen,
    }
    return Found(outcomes(protocol)[chosen], facts)


def told(facts: dict[str, Any]) -> str:
    """What was tried and chosen, in a line."""
    without = {rate: "diverged" for rate in facts["diverged"]}
    tried = ", ".join(
        f"{rate}: {without.get(rate, 'none') if value is None else f'{value:.2f}'}"
        for rate, value in facts["tried"].items()
    )
    return f"rate {facts['chosen']:g}, by {facts['by']} on {facts['held_out']:.0%} of train, held out: {tried}."
