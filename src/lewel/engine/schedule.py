"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]


def warmup_cosine(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    *,
    warmup_epochs: int = 0,
    decay_per: Literal["epoch", "step"] = "epoch",
) -> Schedule:
    """Linear warm-up to `lr`, step by step, then a cosine to 0; returns step (from 0) -> rate.

    With E epochs of which w warm up, s the step and e = s // steps_per_epoch:

        s < w * steps_per_epoch    lr * (s + 1) / (w * steps_per_epoch)
        decay per epoch            lr * (1 + cos(pi * (e - w) / (E - w))) / 2                 the published runs
        decay per step             the same with s / steps_per_epoch in the place of e

    Past the last epoch the rate stays at the cosine's end, 0.
    """
    warmup_steps = warmup_epochs * steps_per_epoch

    def rate(step: int) -> float:
        if step < warmup_steps:
            return lr * (step + 1) / warmup_steps
        epoch = step // steps_per_epoch if decay_per == "epoch" else step / steps_per_epoch
        share = min((epoch - warmup_epochs) / max(epochs - warmup_epochs, 1), 1.0)
        return lr * 0.5 * (1 + math.cos(math.pi * share))

    return rate
