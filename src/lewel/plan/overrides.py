"""The numbers of a recipe that flags may change: what each allows, and which methods have it.

Structure is in the recipe; a flag that a method has no use for is an error, not silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar, cast

from lewel.config import BuildsMethod, Data, Encoder, Optimizer, Recipe, View
from lewel.errors import UserError
from lewel.plan import terms as read
from lewel.recipes import methods
from lewel.terms import Head, Maps, Method, Target, Term, Uniform

T = TypeVar("T")


@dataclass(frozen=True)
class Overrides:
    """None keeps the recipe's number."""

    epochs: int | None = None  # passes over the images
    batch_size: int | None = None  # images a step, over all processes; the rate and the target's momentum follow
    lr: float | None = None  # peak learning rate
    weight_decay: float | None = None
    warmup_epochs: int | None = None  # linear warm-up of the rate
    decay_per: Literal["epoch", "step"] | None = None  # the cosine moves once an epoch (as published) or every step
    encoder: str | None = None  # any timm CNN
    stem: Literal["imagenet", "small"] | None = None  # small: 3x3, stride 1, no max-pool, for images of 32-64 px
    image_size: int | None = None  # pixels a side of the crops
    momentum: float | None = None  # what the target keeps of itself at a step (its first value, with a cosine schedule)
    bn_groups: int | None = None  # groups of BN statistics in a batch; 1: SyncBN
    hidden: int | None = None  # width of the hidden layer of every head
    dim: int | None = None  # size of the global embedding, d: with LEWEL also the number of maps
    temperature: float | None = None  # of InfoNCE
    queue: int | None = None  # keys in the queue
    groups: int | None = None  # h: blocks of channels with maps of their own
    aligned_dim: int | None = None  # c': size of an aligned embedding
    beta: float | None = None  # weight of the second term; the first has 1 - beta
    crop_min: float | None = None  # smallest share of the image's area in a crop
    flip: float | None = None  # probability of a left-right flip
    vertical_flip: float | None = None  # probability of an up-down flip
    rotation: float | None = None  # degrees, either way
    jitter: float | None = None  # factor on the strengths of the colour jitter; 0: none
    gray: float | None = None  # probability of greyscale
    blur: float | None = None  # probability of blur, in every view
    solarize: float | None = None  # probability of solarisation, in every view


_Limit = tuple[Callable[[float], bool], str]
_POSITIVE: _Limit = (lambda v: v >= 1, "1 or more")
_RATE: _Limit = (lambda v: 0 < v < math.inf, "more than 0")
_NOT_NEGATIVE: _Limit = (lambda v: 0 <= v < math.inf, "0 or more")
_SHARE: _Limit = (lambda v: 0 <= v <= 1, "0 to 1")

_LIMITS: dict[str, _Limit] = {
    **dict.fromkeys(("epochs", "batch_size", "image_size", "bn_groups", "hidden", "dim"), _POSITIVE),
    **dict.fromkeys(("queue", "groups", "aligned_dim"), _POSITIVE),
    **dict.fromkeys(("lr", "temperature"), _RATE),
    **dict.fromkeys(("weight_decay", "warmup_epochs"), _NOT_NEGATIVE),
    **dict.fromkeys(("beta", "flip", "vertical_flip", "gray", "blur", "solarize"), _SHARE),
    "momentum": (lambda v: 0 <= v < 1, "0 to less than 1"),
    "crop_min": (lambda v: 0 < v <= 1, "more than 0, at most 1"),
    "rotation": (lambda v: 0 <= v <= 180, "0 to 180 degrees"),
    "jitter": (lambda v: 0 <= v <= 2.5, "0 to 2.5 (brightness, contrast and saturation reach 1 there)"),
}


def flag(name: str) -> str:
    """batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def check(overrides: Overrides, recipe: Recipe) -> None:
    """Raises UserError for a number outside its limits, or one that this recipe's method does not have."""
    for field in fields(overrides):
        name, value = field.name, getattr(overrides, field.name)
        if value is None:
            continue
        allowed, text = _LIMITS.get(name, (lambda _: True, ""))
        if not allowed(value):
            raise UserError(f"{flag(name)} {value}: must be {text}")
        if name in read.OF_A_METHOD and not read.has_number(recipe.method, name):
            raise UserError(f"{flag(name)} has no effect on {recipe.name}: only {_who_has(name)} have it")


def apply(overrides: Overrides, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe with the given numbers, and a line for every number that follows from another.

    With a batch k times the recipe's, the rate is multiplied by k and the target's momentum m becomes m^k, unless
    given. Raises UserError as `check`.
    """
    check(overrides, recipe)
    optimizer, notes = _optimizer(overrides, recipe.optimizer)
    if isinstance(recipe.method, Method):
        method, method_notes = _terms(overrides, recipe.method, optimizer.batch_size / recipe.optimizer.batch_size)
    else:
        method, method_notes = _own(overrides, recipe.method), []
    changed = replace(recipe, method=method, optimizer=optimizer, data=_data(overrides, recipe.data))
    if overrides.queue is not None:
        changed = replace(changed, queue_share=None)
    changed, warmup_notes = _epochs(overrides, changed)
    return changed, notes + method_notes + warmup_notes


def _own(overrides: Overrides, method: BuildsMethod) -> BuildsMethod:
    """A method that is no sum of terms: each number is its field of that name."""
    names = [name for name in read.OF_A_METHOD if name not in ("encoder", "stem") and read.has(method, name)]
    encoder = _changed(method.encoder, name=overrides.encoder, stem=overrides.stem)
    changed = {} if encoder == method.encoder else {"encoder": encoder}
    return _changed(method, **changed, **{name: getattr(overrides, name) for name in names})


def _terms(overrides: Overrides, method: Method, k: float) -> tuple[Method, list[str]]:
    """k: by how much the batch has grown."""
    target, notes = _target(overrides, method.target, k)
    method, dim_notes = _heads(overrides, replace(method, target=target))
    method = replace(
        method,
        encoder=_changed(method.encoder, name=overrides.encoder, stem=overrides.stem),
        terms=tuple(_objective(overrides, term) for term in method.terms),
    )
    return _changed(_balance(overrides, method), bn_groups=overrides.bn_groups), notes + dim_notes


def _target(overrides: Overrides, target: Target, k: float) -> tuple[Target, list[str]]:
    if not read.has(target, "momentum"):
        return target, []
    momentum: float = read.number(target, "momentum")
    if overrides.momentum is not None:
        return _changed(target, momentum=overrides.momentum), []
    if k == 1:
        return target, []
    note = f"batch x {k:g}: target momentum {momentum:g} -> {momentum**k:.6g} (--momentum)"
    return _changed(target, momentum=momentum**k), [note]


def _epochs(overrides: Overrides, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """--epochs. A warm-up that nobody asked for, and that leaves nothing of so short a run, keeps its share of it."""
    shorter = _changed(recipe, epochs=overrides.epochs)
    warmup, epochs = recipe.optimizer.warmup_epochs, shorter.epochs
    if overrides.warmup_epochs is not None or warmup < epochs or shorter.epochs >= recipe.epochs:
        return shorter, []
    kept = warmup * epochs // recipe.epochs
    note = f"--epochs {epochs} of the recipe's {recipe.epochs}: warm-up {warmup} -> {kept} epochs (--warmup-epochs)"
    return replace(shorter, optimizer=replace(shorter.optimizer, warmup_epochs=kept)), [note]


def _optimizer(overrides: Overrides, optimizer: Optimizer) -> tuple[Optimizer, list[str]]:
    changed = _changed(
        optimizer,
        batch_size=overrides.batch_size,
        lr=overrides.lr,
        weight_decay=overrides.weight_decay,
        warmup_epochs=overrides.warmup_epochs,
        decay_per=overrides.decay_per,
    )
    k = changed.batch_size / optimizer.batch_size
    if k == 1 or overrides.lr is not None:
        return changed, []
    changed = replace(changed, lr=optimizer.lr * k)
    note = f"batch x {k:g} ({optimizer.batch_size} -> {changed.batch_size}): learning rate {optimizer.lr:g} -> "
    return changed, [f"{note}{changed.lr:g} (--lr)"]


def _heads(overrides: Overrides, method: Method) -> tuple[Method, list[str]]:
    """--hidden, --dim, --aligned-dim, --groups. c' follows d where the recipe has them equal, as the paper's does."""
    dim, aligned_dim, notes = overrides.dim, overrides.aligned_dim, []
    follows = [t for t in method.terms if isinstance(t.projector, Head) and _follows(t, method)]
    if dim is not None and aligned_dim is None and follows:
        aligned_dim = dim
        was = read.projector(follows[0], method).out
        notes.append(f"--dim {dim}: aligned embeddings {was} -> {dim} too (--aligned-dim)")
    new = []
    for term in method.terms:
        out = aligned_dim if read.is_aligned(term) else dim
        head = term.projector
        new.append(
            replace(
                term,
                projector=_head(head, overrides.hidden, out) if isinstance(head, Head) else head,
                predictor=_head(term.predictor, overrides.hidden, out if isinstance(head, Head) else dim),
                maps=_maps(overrides, term.maps),
            )
        )
    return replace(method, terms=tuple(new)), notes


def _follows(term: Term, method: Method) -> bool:
    dims = method.dims
    return read.is_aligned(term) and dims[term.name] == term.maps.count(None, dims)


def _head(head: Head | None, hidden: int | None, out: int | None) -> Head | None:
    if head is None:
        return None
    if hidden is None or not read.has(head, "hidden"):
        return _changed(head, out=out)
    widths = read.number(head, "hidden")
    return _changed(head, out=out, hidden=(hidden,) * len(widths) if isinstance(widths, tuple) else hidden)


def _maps(overrides: Overrides, maps: Maps) -> Maps:
    """--groups; --dim and --hidden reach what makes maps without a term of its own."""
    if isinstance(maps, Uniform):
        return maps
    numbers = {"dim": overrides.dim} if read.has(maps, "dim") else {}
    heads = {
        field.name: _head(part, overrides.hidden, overrides.dim)
        for field in fields(maps)
        if isinstance(part := read.number(maps, field.name), Head)
    }
    return _changed(maps, groups=overrides.groups, **numbers, **heads)


def _objective(overrides: Overrides, term: Term) -> Term:
    names = [name for name in ("temperature", "queue") if read.has(term.objective, name)]
    numbers = {name: getattr(overrides, name) for name in names}
    return replace(term, objective=_changed(term.objective, **numbers))


def _balance(overrides: Overrides, method: Method) -> Method:
    if overrides.beta is None:
        return method
    first, second = method.terms
    return replace(method, terms=(replace(first, weight=1 - overrides.beta), replace(second, weight=overrides.beta)))


def _data(overrides: Overrides, data: Data) -> Data:
    views = tuple(_view(overrides, view) for view in data.views)
    return _changed(replace(data, views=views), image_size=overrides.image_size)


def _view(o: Overrides, view: View) -> View:
    factor = 1.0 if o.jitter is None else o.jitter
    brightness, contrast, saturation, hue = (strength * factor for strength in view.jitter)
    if hue > 0.5:
        raise UserError(f"--jitter {factor:g} turns the recipe's hue to {hue:g}: {0.5 / view.jitter[3]:g} at most")
    return _changed(
        view,
        scale=None if o.crop_min is None else (o.crop_min, view.scale[1]),
        flip=o.flip,
        vertical_flip=o.vertical_flip,
        rotation=o.rotation,
        jitter=(brightness, contrast, saturation, hue),
        gray=o.gray,
        blur=o.blur,
        solarize=o.solarize,
    )


def _changed(config: T, **numbers: Any) -> T:
    """The dataclass with every number that is not None."""
    given = {name: value for name, value in numbers.items() if value is not None}
    return cast(T, replace(cast(Any, config), **given)) if given else config


def _who_has(name: str) -> str:
    """The methods that have this number, as text."""
    encoder = Encoder()
    rows = {make.__name__: make(encoder) for make in (methods.moco_v2, methods.byol, methods.lewel_m, methods.lewel_b)}
    return " and ".join(row for row, method in rows.items() if read.has_number(method, name))
