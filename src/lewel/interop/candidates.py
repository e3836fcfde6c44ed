"""Find the encoders in a checkpoint, whatever it wraps them in, and choose one of them.

The rule: among the nested dicts, those with tensors; in each, the longest prefix of names whose remainders are the
names, with the shapes, of an architecture. The architecture is given, or is recognised from the shapes. So solo-learn's
`state_dict: backbone.*`, DINO's `teacher: module.backbone.*` and DDP's `module.*` are one case.

Of several encoders the first is chosen whose place says in the words of `_ROLES` that it is the one to evaluate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor

from lewel import config
from lewel.interop import architectures, dialects

_COUNTER = "num_batches_tracked"  # which old files lack; it starts at 0
DEEPEST, _MOST_DICTS = 8, 1000  # dicts within dicts, which may hold themselves


class Group(NamedTuple):
    """The tensors directly in one of the nested dicts. path: its keys from the top."""

    path: tuple[str, ...]
    tensors: dict[str, Tensor]


class Candidate(NamedTuple):
    """An encoder in a file.

    where: its place, such as "state_dict.backbone"; "" for a bare state dict.
    state: its tensors, by timm's names.   names: of each, its name in the group.
    missing, reshaped, foreign: names that no file of the architecture lacks, has in another shape, or has besides.
    classifier: names of the classifier's tensors, in the group.
    """

    where: str
    group: Group
    encoder: config.Encoder
    state: dict[str, Tensor]
    names: dict[str, str]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    foreign: tuple[str, ...]
    classifier: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.reshaped or self.foreign)


class _Role(NamedTuple):
    """words: in the place of an encoder. The roles of a file's encoders are compared in this order."""

    words: frozenset[str]
    why: str


_ROLES = (
    _Role(frozenset({"teacher"}), "the teacher, which DINO's authors evaluate"),
    _Role(frozenset({"ema", "averaged", "swa"}), "the moving average, which timm loads where there is one"),
    _Role(frozenset(), "the network that gradients trained, which BYOL's and MoCo's authors evaluate"),
    _Role(frozenset({"momentum", "target", "key", "k"}), "the first in the file"),
)


class Choice(NamedTuple):
    """chosen: None where no encoder's place is the one asked for.  why: "" where there was nothing to choose."""

    chosen: Candidate | None
    others: tuple[Candidate, ...]
    why: str


def groups(content: Mapping[Any, Any]) -> list[Group]:
    """The dicts in the content that hold named tensors, outer ones first; at most `_MOST_DICTS` are looked at."""
    return list(islice(_groups(content, ()), _MOST_DICTS))


def _groups(content: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[Group]:
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in named.items() if isinstance(value, Tensor)}:
        yield Group(path, tensors)
    for key, value in named.items():
        if isinstance(value, Mapping) and len(path) < DEEPEST:
            yield from _groups(value, (*path, key))


def find(within: Iterable[Group], encoder: config.Encoder | None) -> list[Candidate]:
    """The encoders of the given architecture, or of any that is recognised, in the order of the file.

    Where none fits, those are returned that come near; none where nothing looks like an encoder.
    """
    found: list[Candidate] = []
    for group in within:
        found += _first_dialect(group, encoder)
    return [each for each in found if each.fits] or found


def _first_dialect(group: Group, encoder: config.Encoder | None) -> list[Candidate]:
    """The group's encoders in the first dialect in which one fits, else in the first in which one looks like it."""
    near: list[Candidate] = []
    for rename in dialects.of(map(dialects.unwrapped, group.tensors)):
        renamed = {rename(dialects.unwrapped(name)): name for name in group.tensors}
        if len(renamed) < len(group.tensors):
            continue
        found = [
            _candidate(group, renamed, prefix, architecture)
            for prefix, architecture in _prefixes(group, renamed, encoder)
        ]
        if fitting := [each for each in found if each.fits]:
            return fitting
        near = near or found
    return near


def _prefixes(
    group: Group, renamed: Mapping[str, str], encoder: config.Encoder | None
) -> list[tuple[str, config.Encoder]]:
    if encoder is None:
        anchored = dict.fromkeys(
            name.removesuffix(anchor) for anchor in architectures.ANCHORS for name in renamed if _ends(name, anchor)
        )
        known = [(prefix, architectures.recognise(_below(prefix, group, renamed)).encoder) for prefix in anchored]
        return [(prefix, each) for prefix, each in known if each is not None]
    target = architectures.shapes(encoder)
    matched: Counter[str] = Counter()
    for name, own in renamed.items():
        for prefix, rest in _splits(name):
            matched[prefix] += target.get(rest) == tuple(group.tensors[own].shape)
    half = sum(not name.endswith(_COUNTER) for name in target) / 2
    return [(prefix, _stemmed(encoder, prefix, group, renamed)) for prefix, count in matched.items() if count > half]


def _stemmed(encoder: config.Encoder, prefix: str, group: Group, renamed: Mapping[str, str]) -> config.Encoder:
    """The given architecture with the stem that the file has."""
    small = architectures.stem_of(_below(prefix, group, renamed)) == "small"
    ours = architectures.shapes(encoder).get("conv1.weight", ())
    return config.Encoder(encoder.name, "small") if small and ours[2:] == (7, 7) else encoder


def _ends(name: str, anchor: str) -> bool:
    return name == anchor or name.endswith("." + anchor)


def nearest(within: Iterable[Group]) -> str:
    """What comes nearest to a network that no table has: its name, and how it differs; "" without any."""
    for group in within:
        names = {dialects.unwrapped(name): name for name in group.tensors}
        for anchor in architectures.ANCHORS:
            for name in names:
                if _ends(name, anchor):
                    return architectures.recognise(_below(name.removesuffix(anchor), group, names)).nearest
    return ""


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """("", name), then each prefix that ends in a dot, and the rest."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _below(prefix: str, group: Group, renamed: Mapping[str, str]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): group.tensors[own] for name, own in renamed.items() if name.startswith(prefix)}


def _candidate(group: Group, renamed: Mapping[str, str], prefix: str, encoder: config.Encoder) -> Candidate:
    """What is below the prefix, against the architecture. Modules beside the encoder's own are none of it."""
    target = architectures.shapes(encoder)
    own_modules = {name.partition(".")[0] for name in target}
    names = {name.removeprefix(prefix): own for name, own in renamed.items() if name.startswith(prefix)}
    tensors = {name: group.tensors[own] for name, own in names.items()}
    rest = [name for name in names if name not in target]
    heads = [name for name in rest if name.startswith(architectures.classifier(encoder.name))]
    return Candidate(
        ".".join(filter(None, [*group.path, prefix.rstrip(".")])),
        group,
        encoder,
        {name: tensors[name] for name in target if name in tensors},
        {name: names[name] for name in target if name in tensors},
        tuple(name for name in target if name not in tensors and not name.endswith(_COUNTER)),
        tuple(name for name in target if name in tensors and tuple(tensors[name].shape) != target[name]),
        tuple(name for name in rest if name not in heads and name.partition(".")[0] in own_modules),
        tuple(names[name] for name in heads),
    )


def choose(found: list[Candidate], place: str) -> Choice:
    """One of the encoders: that at the given place, else the first with the best role. The same for every reader."""
    if place:
        named = [each for each in found if each.where == place] or [each for each in found if _is_at(each, place)]
        chosen = named[0] if len(named) == 1 else None
        return Choice(chosen, tuple(each for each in found if each is not chosen), "as asked for" if chosen else "")
    chosen = min(found, key=lambda each: _ROLES.index(_role(each)))  # the first of several
    others = tuple(each for each in found if each is not chosen)
    equals = any(_role(each) == _role(chosen) for each in others)
    return Choice(chosen, others, "" if not others else _ROLES[-1].why if equals else _role(chosen).why)


def _is_at(candidate: Candidate, place: str) -> bool:
    """Whether the place is a part of the candidate's: "student" of "student.module.backbone"."""
    return f".{place}." in f".{candidate.where}."


def _role(candidate: Candidate) -> _Role:
    words = set(re.split(r"[^a-z0-9]+", candidate.where.lower()))
    plain = next(role for role in _ROLES if not role.words)
    return next((role for role in _ROLES if role.words & words), plain)
