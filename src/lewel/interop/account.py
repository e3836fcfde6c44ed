"""Account for everything in a checkpoint: what is read, what is not and why, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lewel.interop.candidates import DEEPEST, Candidate, Group
from lewel.terminal import printable

CLASSIFIER, OTHER_ENCODER, NO_PART = "classifier", "another encoder", "no part of the encoder"
_TRAINING_STATE = ("optim", "scaler", "sched")


class Unused(NamedTuple):
    """A tensor that is not the encoder's, by its name without what all names of its dict begin with."""

    name: str
    why: str


class Account(NamedTuple):
    """Where the tensors of a source went.

    missing: in the encoder, not in the source: BN's counters of batches, which old files lack; they start at 0.
    unused: in the source, not in the encoder: classifiers, projectors, predictors, target networks, queues.
    notes: sentences for the user.   licence: those of the notes that say how the weights are licensed.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()
    licence: tuple[str, ...] = ()

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Names of the tensors that are not used."""
        return tuple(each.name for each in self.unused)

    def counts(self) -> str:
        """Loaded, missing and unused tensors, in one line."""
        parts = Counter((each.name.split(".")[0], each.why) for each in self.unused)
        unused = ", ".join(f"{printable(part)} ({count}) {why}" for (part, why), count in parts.items())
        missing = f"{len(self.missing)} BN counters, started at 0" if self.missing else "none"
        loaded = f"{self.source}: {self.loaded} tensors loaded into the encoder"
        return f"{loaded}; missing: {missing}; not used: {unused or 'none'}"

    def __str__(self) -> str:
        return ". ".join([self.counts(), *self.notes])


def unused(chosen: Candidate, others: Iterable[Candidate]) -> tuple[Unused, ...]:
    """The tensors beside the chosen encoder's, in the same dict."""
    read = set(chosen.names.values())
    same = [each for each in others if each.group is chosen.group]
    elsewhere = {name for each in same for name in (*each.names.values(), *each.classifier)}
    names = list(chosen.group.tensors)
    common = _common(names)

    def why(name: str) -> str:
        return CLASSIFIER if name in chosen.classifier else OTHER_ENCODER if name in elsewhere else NO_PART

    return tuple(Unused(name.removeprefix(common), why(name)) for name in names if name not in read)


def beside(
    content: Mapping[Any, Any], within: Iterable[Group], read: Group, others: Iterable[Candidate] = ()
) -> tuple[str, ...]:
    """One note on what lies beside the dict that was read; none where it is all there is."""
    path, encoders = read.path, {each.group.path for each in others}
    keys = [key for key in content if (key != path[0] if path else key not in read.tensors)]
    said = [_what(key, content[key], any(place[:1] == (key,) for place in encoders)) for key in keys]
    said += [
        f"{'.'.join(group.path)} ({OTHER_ENCODER if group.path in encoders else 'tensors'})"
        for group in within
        if path and group.path != path and group.path[:1] == path[:1]
    ]
    return (printable(f"not read: {', '.join(said)}"),) if said else ()


def _what(key: Any, value: Any, holds_encoder: bool) -> str:
    if holds_encoder:
        return f"{key} ({OTHER_ENCODER})"
    if not _holds_tensors(value):
        return str(key)
    is_state = any(part in str(key).lower() for part in _TRAINING_STATE)
    return f"{key} ({'training state' if is_state else 'tensors'})"


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if depth < DEEPEST and any(_holds_tensors(each, depth + 1) for each in inside):
        return True
    return isinstance(value, Tensor) and value.ndim > 0  # a best accuracy is a 0-d tensor


def _common(names: list[str]) -> str:
    """What all names begin with, up to a dot: DDP's "module."."""
    first, last = min(names).split("."), max(names).split(".")
    same = 0
    while same < min(len(first), len(last)) - 1 and first[same] == last[same]:
        same += 1
    return "".join(f"{part}." for part in first[:same])


def shown(items: Iterable[str], most: int = 4) -> str:
    """The first few names, and how many more."""
    names = list(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more
