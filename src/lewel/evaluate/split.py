"""A seeded split of labelled images into train and val: stratified by class, and what belongs together stays together.

Each class is to give its share. Groups are visited in a random order; one goes to val when that brings the classes in
it nearer to their shares. Then single groups are moved while that brings the total nearer to its own. Some group of
every class stays in train. Without groups every image is one, and all shares are met to the image.
Sums of integers and raw random bits decide, so the split is the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from lewel.data.augment import SPLIT, uniforms


def held_out(
    labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"] | None, share: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Whether each image goes to val. groups: 0 .. g - 1; equals go to the same side. None: every image alone."""
    groups = np.arange(len(labels)) if groups is None else groups
    sizes = np.bincount(labels)
    split = _Split.of(labels, groups, wanted=whole_shares(sizes, share), most=np.maximum(sizes - 1, 0))
    order = np.argsort(uniforms(len(split.chosen), SPLIT, seed, 0, 0), kind="stable")
    _approach_classes(split, order)
    while (moved := _nearer_total(split, order)) is not None:
        split.move(moved)
    return split.chosen[groups]


def whole_shares(sizes: Int64[np.ndarray, " classes"], share: float) -> Int64[np.ndarray, " classes"]:
    """That share of each class in whole images, by largest remainders, so the total is right; one of each is left."""
    exact = sizes * share + 1e-9  # 0.29 * 100 is 28.999999999999996
    most = np.maximum(sizes - 1, 0)
    whole = np.minimum(np.floor(exact).astype(np.int64), most)
    missing = math.floor(int(sizes.sum()) * share + 0.5) - int(whole.sum())
    by_remainder = np.argsort(whole - exact, kind="stable")
    more = by_remainder[whole[by_remainder] < most[by_remainder]][: max(missing, 0)]
    whole[more] += 1
    return whole


@dataclass(frozen=True, eq=False)
class _Split:
    """How many images of which class are in which group (sparse rows, by group), and what is in val so far."""

    group: Int64[np.ndarray, " rows"]
    label: Int64[np.ndarray, " rows"]
    count: Int64[np.ndarray, " rows"]
    wanted: Int64[np.ndarray, " classes"]
    most: Int64[np.ndarray, " classes"]
    held: Int64[np.ndarray, " classes"]
    chosen: Bool[np.ndarray, " groups"]

    @classmethod
    def of(cls, labels: np.ndarray, groups: np.ndarray, wanted: np.ndarray, most: np.ndarray) -> _Split:
        pairs, count = np.unique(groups * len(wanted) + labels, return_counts=True)
        group, label = np.divmod(pairs, len(wanted))
        chosen = np.zeros(int(groups.max()) + 1, bool)
        return cls(group, label, count.astype(np.int64), wanted, most, np.zeros_like(wanted), chosen)

    def move(self, group: int) -> None:
        """To the other side."""
        rows = slice(*np.searchsorted(self.group, [group, group + 1]))
        self.held[self.label[rows]] += -self.count[rows] if self.chosen[group] else self.count[rows]
        self.chosen[group] = not self.chosen[group]


def _approach_classes(split: _Split, order: Int64[np.ndarray, " groups"]) -> None:
    """Add each group that makes sum (held - wanted)^2 over the classes smaller."""
    starts = np.searchsorted(split.group, np.arange(len(order) + 1)).tolist()
    label, count, wanted, most = (each.tolist() for each in (split.label, split.count, split.wanted, split.most))
    held = split.held.tolist()
    for group in order.tolist():
        rows = range(starts[group], starts[group + 1])
        change = sum(count[row] * (count[row] + 2 * (held[label[row]] - wanted[label[row]])) for row in rows)
        if change < 0 and all(held[label[row]] + count[row] <= most[label[row]] for row in rows):
            split.chosen[group] = True
            for row in rows:
                held[label[row]] += count[row]
    split.held[:] = held


def _nearer_total(split: _Split, order: Int64[np.ndarray, " groups"]) -> int | None:
    """The group whose move brings the total nearer and harms the classes least, the first in `order` of several."""
    missing = int(split.wanted.sum() - split.held.sum())
    if missing == 0:
        return None
    adds = missing > 0
    size = _by_group(split, split.count)
    surplus = (split.held - split.wanted)[split.label]
    harm = _by_group(split, split.count * (split.count + 2 * (surplus if adds else -surplus)))
    possible = (split.chosen != adds) & (size < 2 * abs(missing))
    if adds:
        room = (split.most - split.held)[split.label]
        possible &= _by_group(split, split.count > room) == 0
    candidates = order[possible[order]]
    return int(candidates[np.argmin(harm[candidates])]) if len(candidates) else None


def _by_group(split: _Split, values: np.ndarray) -> Float[np.ndarray, " groups"]:
    """Sums of the rows' values over each group; whole numbers, so exact."""
    return np.bincount(split.group, weights=values, minlength=len(split.chosen))
