"""The numbers of a recipe that flags may change, as `--help` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from lewel.config import Head, Recipe
from lewel.plan import terms as read
from lewel.plan.overrides import Overrides


def numbers(recipe: Recipe) -> dict[str, str]:
    """Flag's field -> the recipe's number as text; a field that the recipe's method does not have is absent."""
    method, data, optimizer = recipe.method, recipe.data, recipe.optimizer
    first = method.terms[0]
    aligned = [term for term in method.terms if read.is_aligned(term)]
    objectives = [term.objective for term in method.terms]
    found: dict[str, Iterable[Any]] = {
        "epochs": [recipe.epochs],
        "batch_size": [optimizer.batch_size],
        "lr": [optimizer.lr],
        "weight_decay": [optimizer.weight_decay],
        "warmup_epochs": [optimizer.warmup_epochs],
        "decay_per": [optimizer.decay_per],
        "encoder": [method.encoder.name],
        "stem": [method.encoder.stem],
        "image_size": [data.image_size],
        "momentum": [method.target.momentum],
        "bn_groups": ["one a process" if method.bn_groups is None else method.bn_groups],
        "hidden": [read.projector(first, method).hidden],
        "dim": [read.out_dim(first, method)],
        "temperature": [each.temperature for each in objectives if each.kind in ("queue", "in_batch")][:1],
        "queue": [_queue(recipe, each.queue) for each in objectives if each.kind == "queue"][:1],
        "groups": [term.maps.groups for term in aligned][:1],
        "aligned_dim": [term.projector.out for term in aligned if isinstance(term.projector, Head)][:1],
        "beta": [method.terms[1].weight] if read.has_balance(method) else [],
        "crop_min": [view.scale[0] for view in data.views],
        "jitter": [1],
        **{name: [getattr(view, name) for view in data.views] for name in _OF_VIEWS},
    }
    assert set(found) == {field.name for field in fields(Overrides)}
    return {name: _text(values) for name, values in found.items() if values}


_OF_VIEWS = ("flip", "vertical_flip", "rotation", "gray", "blur", "solarize")


def _queue(recipe: Recipe, keys: int) -> str:
    return str(keys) if recipe.queue_share is None else f"{recipe.queue_share:.0%} of the images"


def _text(values: Iterable[Any]) -> str:
    """One number, or that of each view where they differ."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)
