"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

Schedule = Callable[[int], float]


def warmup_cosine(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    *,
    warmup_epochs: int = 0,
    decay_per: Literal["epoch", "step"] = "epoch",
    last: float = 0.0,
) -> Schedule:
    """Linear warm-up to `lr`, step by step, then a cosine to `last`; returns step (from 0) -> rate.

    With E epochs of which w warm up, s the step and e = s // steps_per_epoch:

        s < w * steps_per_epoch    lr * (s + 1) / (w * steps_per_epoch)
        decay per epoch            last + (lr - last) * (1 + cos(pi * (e - w) / (E - w))) / 2    the published runs
        decay per step             the same with s / steps_per_epoch in the place of e

    Past the last epoch the rate stays at the cosine's end.
    """
    warmup_steps = warmup_epochs * steps_per_epoch

    def rate(step: int) -> float:
        if step < warmup_steps:
            return lr * (step + 1) / warmup_steps
        epoch = step // steps_per_epoch if decay_per == "epoch" else step / steps_per_epoch
        share = min((epoch - warmup_epochs) / max(epochs - warmup_epochs, 1), 1.0)
        return last + (lr - last) * 0.5 * (1 + math.cos(math.pi * share))

    return rate


def steps(lr: float, milestones: Sequence[float], steps_per_epoch: int, factor: float = 0.1) -> Schedule:
    """`lr`, times `factor` from each of the milestones on (epochs, from 0, or fractions: the nearest step).

    Returns step (from 0) -> rate.
    """
    falls = [round(milestone * steps_per_epoch) for milestone in milestones]

    def rate(step: int) -> float:
        return lr * factor ** sum(step >= fall for fall in falls)

    return rate


def polynomial(lr: float, total_steps: int, *, power: float, last: float = 0.0) -> Schedule:
    """last + (lr - last) * (1 - step / total_steps) ** power; returns step (from 0) -> rate."""

    def rate(step: int) -> float:
        return last + (lr - last) * (1 - min(step / total_steps, 1)) ** power

    return rate


def warmed_up(schedule: Schedule, warmup_steps: int, factor: float) -> Schedule:
    """The schedule times a share that rises linearly from `factor` at step 0 to 1 at step `warmup_steps`."""

    def rate(step: int) -> float:
        done = min(step / warmup_steps, 1) if warmup_steps else 1
        return schedule(step) * (factor * (1 - done) + done)

    return rate
