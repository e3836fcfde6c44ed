"""Keywords of the Python API: the flags of the commands, checked by name and type before anything is imported.

A flag `--batch-size` is the keyword `batch_size`. The classes below are for editors and type checkers; the dataclasses
that they mirror say what each number means.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from lewel.errors import UserError, nearest

T = TypeVar("T")

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}


class Pretraining(TypedDict, total=False):
    """Of `pretrain`: `plan.Overrides`, the numbers of the recipe, then `config.Options`, how the run is carried out."""

    epochs: int | None
    batch_size: int | None
    lr: float | None
    weight_decay: float | None
    warmup_epochs: int | None
    decay_per: Literal["epoch", "step"] | None
    encoder: str | None
    stem: Literal["imagenet", "small"] | None
    image_size: int | None
    momentum: float | None
    bn_groups: int | None
    hidden: int | None
    dim: int | None
    temperature: float | None
    queue: int | None
    groups: int | None
    aligned_dim: int | None
    beta: float | None
    crop_min: float | None
    flip: float | None
    vertical_flip: float | None
    rotation: float | None
    jitter: float | None
    gray: float | None
    blur: float | None
    solarize: float | None

    seed: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    executor: Literal["auto", "pillow", "tensor", "resident"]
    compile: bool
    workers: int | None
    accumulate: int
    init: str
    keep: int
    save_every: int | None
    log_every: int
    log: tuple[str, ...]
    evaluate: str | None
    every: int
    force: bool
    max_unreadable: float
    dry_run: bool
    extend: bool
    change_processes: bool
    change_images: bool
    check_images: Literal["sample", "all"]
    timeout: float


class Evaluating(TypedDict, total=False):
    """Of `evaluate`: `config.Evaluation`, how it is carried out, then `Changes`, the numbers of the protocol."""

    split: Literal["given", "auto"]
    val_share: float
    group_by: str | None
    subset: Path | None
    lr_search: bool
    seed: int
    seeds: int
    device: Literal["auto", "cpu", "cuda", "mps"]
    workers: int | None

    image_size: int | None
    precision: Literal["fp32", "bf16", "fp16"] | None
    epochs: int | None
    batch_size: int | None
    iterations: int | None
    lr: float | None
    lr_encoder: float | None
    weight_decay: float | None
    k: int | None
    temperature: float | None
    fraction: float | None
    regions: int | None
    evaluations: int | None
    norm: Literal["batch", "frozen", "group"] | None
    dilated_convs: Literal["all", "first"] | None


class Extracting(TypedDict, total=False):
    """Of `embed`: `config.Extraction`, how features are extracted."""

    image_size: int | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    workers: int | None


def checked(function: str, keywords: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords given to a function of the API, each as its type has it.

    keywords: a class above.
    Raises UserError for an unknown name and for a value of another type.
    """
    hints = typing.get_type_hints(keywords)
    for name in given:
        if name not in hints:
            meant = nearest(name, hints) or f"; see help(lewel.{function})"
            raise UserError(f"lewel.{function} has no keyword {name!r}{meant}")
    return {name: value_of(name, value, hints[name]) for name, value in given.items()}


def fields_of(kind: type[T], given: Mapping[str, Any], **others: Any) -> T:
    """An instance of the dataclass from those of the checked keywords that are its fields, and from `others`."""
    names = {field.name for field in dataclasses.fields(typing.cast(Any, kind))}
    return kind(**{name: value for name, value in given.items() if name in names}, **others)


def value_of(name: str, value: Any, hint: Any) -> Any:
    """The value as the type says: numbers of NumPy become Python's, and a list becomes a tuple.

    Raises UserError for another type, which says what is allowed.
    """
    allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in allowed:
        found = _as(value, kind)
        if found is not _NOT_ALLOWED:
            return found
    raise UserError(f"{name}={short(value)}: {_in_words(allowed)} is needed")


def path_of(name: str, value: object) -> str:
    """A path as text. Raises UserError for what is none, or empty."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and text:
            return text
    raise UserError(f"{name}={short(value)}: a path is needed")


def sequence_of(name: str, value: object, what: str) -> tuple[Any, ...]:
    """The elements. Raises UserError for a single one. what: the elements in words, for the message."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise UserError(f"{name}={short(value)}: a list of {what} is needed")
    return tuple(value)


def short(value: object) -> str:
    """A value for a message: its repr, or its type where that is long or has lines."""
    try:
        text = repr(value)
    except Exception:
        text = ""
    return text if text and len(text) <= 60 and text.isprintable() else f"<{type(value).__name__}>"


_NOT_ALLOWED = object()


def _as(value: Any, kind: Any) -> Any:
    """The value as that type, or `_NOT_ALLOWED`."""
    if typing.get_origin(kind) is Literal:
        return value if isinstance(value, str) and value in typing.get_args(kind) else _NOT_ALLOWED
    if typing.get_origin(kind) is tuple:
        return _as_tuple(value, typing.get_args(kind)[0])
    if isinstance(value, bool):
        return value if kind is bool else _NOT_ALLOWED
    if kind is int:
        return int(value) if isinstance(value, Integral) else _NOT_ALLOWED
    if kind is float:
        return float(value) if isinstance(value, Real) else _NOT_ALLOWED
    if kind is Path:
        return Path(value) if isinstance(value, str | os.PathLike) and os.fspath(value) else _NOT_ALLOWED
    return value if isinstance(value, kind) else _NOT_ALLOWED


def _as_tuple(value: Any, kind: Any) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return _NOT_ALLOWED
    found = tuple(_as(each, kind) for each in value)
    return _NOT_ALLOWED if _NOT_ALLOWED in found else found


def _in_words(kinds: Sequence[Any]) -> str:
    """ "a whole number or None" """
    words = []
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            words += [repr(each) for each in typing.get_args(kind)]
        elif typing.get_origin(kind) is tuple:
            words.append(f"a list of {_WORDS[typing.get_args(kind)[0]].removeprefix('a ')}s")
        else:
            words.append("None" if kind is type(None) else _WORDS[kind])
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
