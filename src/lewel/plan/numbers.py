"""The numbers of a recipe that flags may change, as `--help` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from lewel.config import Recipe
from lewel.plan import terms as read
from lewel.plan.overrides import Overrides
from lewel.terms import Head, Method


def numbers(recipe: Recipe) -> dict[str, str]:
    """Flag's field -> the recipe's number as text; a field that the recipe's method does not have is absent."""
    data, optimizer = recipe.data, recipe.optimizer
    found: dict[str, Iterable[Any]] = {
        "epochs": [recipe.epochs],
        "batch_size": [optimizer.batch_size],
        "lr": [optimizer.lr],
        "weight_decay": [optimizer.weight_decay],
        "warmup_epochs": [optimizer.warmup_epochs],
        "decay_per": [optimizer.decay_per],
        "image_size": [data.image_size],
        **{name: [_of_method(recipe, name)] for name in read.OF_A_METHOD if read.has_number(recipe.method, name)},
        "crop_min": [view.scale[0] for view in data.views],
        "jitter": [1],
        **{name: [getattr(view, name) for view in data.views] for name in _OF_VIEWS},
    }
    return {field.name: _text(found[field.name]) for field in fields(Overrides) if field.name in found}


_OF_VIEWS = ("flip", "vertical_flip", "rotation", "gray", "blur", "solarize")


def _of_method(recipe: Recipe, name: str) -> Any:
    """A number that the method has."""
    method = recipe.method
    if name in ("encoder", "stem"):
        return method.encoder.name if name == "encoder" else method.encoder.stem
    if name == "queue" and recipe.queue_share is not None:
        return f"{recipe.queue_share:.0%} of the images"
    if not isinstance(method, Method):
        return read.number(method, name)
    if name == "bn_groups":
        return "one a process" if method.bn_groups is None else method.bn_groups
    return _of_terms(method, name)


def _of_terms(method: Method, name: str) -> Any:
    """A number of the first term that has it."""
    projectors = [read.projector(term, method) for term in method.terms]
    aligned = [term for term in method.terms if read.is_aligned(term)]
    if name == "momentum":
        return read.number(method.target, name)
    if name == "hidden":
        heads = [head for head in (*projectors, *(term.predictor for term in method.terms)) if head is not None]
        widths = [read.number(head, name) for head in heads if read.has(head, name)]
        each = [one for some in widths for one in (some if isinstance(some, tuple) else (some,))]
        return ", ".join(map(str, dict.fromkeys(each)))
    if name == "dim":
        return projectors[0].out
    if name == "beta":
        return method.terms[1].weight
    if name == "groups":
        return aligned[0].maps.groups
    if name == "aligned_dim":
        return next(term.projector.out for term in aligned if isinstance(term.projector, Head))
    return next(read.number(term.objective, name) for term in method.terms if read.has(term.objective, name))


def _text(values: Iterable[Any]) -> str:
    """One number, or that of each view where they differ."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)
