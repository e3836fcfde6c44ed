"""A recipe, the flags, the number of images and of processes: what will run, or the one thing that does not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lewel.config import BuildsMethod, Recipe
from lewel.errors import UserError
from lewel.plan import terms as read
from lewel.plan.overrides import Overrides, apply
from lewel.terms import Method


@dataclass(frozen=True)
class Plan:
    """What will run.

    recipe: with every number final.  images, world, accumulate: as given.
    steps_per_epoch, total_steps: optimizer steps.
    micro_batch: images of one process in one forward.  bn_group: images that share BN statistics.
    negatives: by term, how many each embedding is compared with; terms without, or whose number only the feature map's
    size tells, are absent.  notes: a line for each number that follows from others.
    """

    recipe: Recipe
    images: int
    world: int
    accumulate: int
    steps_per_epoch: int
    total_steps: int
    micro_batch: int
    bn_group: int
    negatives: dict[str, int]
    notes: tuple[str, ...]


def resolve(recipe: Recipe, overrides: Overrides, images: int, world: int = 1, accumulate: int = 1) -> Plan:
    """The plan for `images` images on `world` processes with `accumulate` micro-batches a step.

    Raises UserError, with the flag to change: a number out of range or without effect; fewer images than a batch; a
    batch that processes, micro-batches or BN groups do not divide; one image in a BN group; a queue that the batch does
    not divide, or larger than the data set; groups that do not divide the maps; a warm-up as long as the run.
    """
    recipe, notes = apply(overrides, recipe)
    recipe, queue_notes = _follow_queue(recipe, images)
    batch = recipe.optimizer.batch_size
    _check_batch(batch, images, world, accumulate)
    _check_queue(recipe, images)
    _check_maps(recipe)
    _check_warmup(recipe)
    forward = batch // accumulate
    bn_group, bn_notes = _bn_group(recipe.method, forward, world, accumulate)
    steps = images // batch
    dropped = images - steps * batch
    if dropped:
        notes.append(f"{dropped} of {images} images are left out of each epoch, others every time: batches are full")
    return Plan(
        recipe=recipe,
        images=images,
        world=world,
        accumulate=accumulate,
        steps_per_epoch=steps,
        total_steps=steps * recipe.epochs,
        micro_batch=forward // world,
        bn_group=bn_group,
        negatives=_negatives(recipe.method, forward),
        notes=(*notes, *queue_notes, *bn_notes),
    )


def _follow_queue(recipe: Recipe, images: int) -> tuple[Recipe, list[str]]:
    """The queue as a share of the images, in whole batches, at least one; after this it is a number like any other."""
    share, batch = recipe.queue_share, recipe.optimizer.batch_size
    if share is None:
        return recipe, []
    recipe = replace(recipe, queue_share=None)
    if not read.has_number(recipe.method, "queue"):
        return recipe, []
    queue = max(1, int(share * images) // batch) * batch
    note = f"queue: {queue} keys, {queue / max(images, 1):.1%} of {images} images in whole batches (--queue)"
    if queue > 2 * share * images:
        note += f"; one batch is the least, and {share:.0%} is meant: a smaller --batch-size comes nearer"
    changed, _ = apply(Overrides(queue=queue), recipe)
    return changed, [note]


def _check_batch(batch: int, images: int, world: int, accumulate: int) -> None:
    if images < batch:
        raise UserError(
            f"{images} images are fewer than a batch of {batch}: give more images or a --batch-size up to {images}"
        )
    if accumulate < 1:
        raise UserError(f"--accumulate {accumulate}: must be 1 or more")
    parts = world * accumulate
    if batch % parts:
        raise UserError(
            f"the batch of {batch} cannot be divided into {parts} equal parts ({world} processes x {accumulate} "
            f"micro-batches): change --batch-size, say to {max(1, batch // parts) * parts}, or --accumulate"
        )


def _check_queue(recipe: Recipe, images: int) -> None:
    batch = recipe.optimizer.batch_size
    for queue in _queues(recipe.method):
        if queue > images:
            raise UserError(
                f"the queue of {queue} keys is larger than the data set of {images} images, so a picture's own old "
                f"keys would be among its negatives: --queue {images // batch * batch} at most"
            )
        if queue % batch:
            raise UserError(
                f"the batch of {batch} does not divide the queue of {queue} keys: change --queue, say to "
                f"{max(1, queue // batch) * batch}, or --batch-size"
            )


def _queues(method: BuildsMethod) -> list[int]:
    """The keys of each queue."""
    parts = [term.objective for term in read.terms(method)] or [method]
    return [read.number(part, "queue") for part in parts if read.has(part, "queue")]


def _check_maps(recipe: Recipe) -> None:
    """That the groups divide the channels too is checked where the encoder is built."""
    if not isinstance(recipe.method, Method):
        return
    for term in recipe.method.terms:
        count, groups = term.maps.count(None, recipe.method.dims), term.maps.groups
        if count is not None and count % groups:
            raise UserError(
                f"{groups} groups do not divide the {count} maps of {recipe.name}: change --groups or --dim"
            )


def _check_warmup(recipe: Recipe) -> None:
    warmup = recipe.optimizer.warmup_epochs
    if warmup >= recipe.epochs:
        raise UserError(
            f"a warm-up of {warmup} epochs leaves nothing of {recipe.epochs}: "
            f"--warmup-epochs {recipe.epochs - 1} at most, or more --epochs"
        )


def _bn_group(method: BuildsMethod, forward: int, world: int, accumulate: int) -> tuple[int, list[str]]:
    """Images that share BN statistics in one forward of `forward` images over all processes."""
    groups = getattr(method, "bn_groups", None) or world
    if groups != 1 and groups % world:
        raise UserError(f"--bn-groups {groups}: must be 1 (SyncBN) or a multiple of the {world} processes")
    if forward % groups:
        raise UserError(
            f"{groups} groups of BN statistics do not divide the {forward} images of a forward: "
            "change --bn-groups, --batch-size or --accumulate"
        )
    size = forward // groups
    if size == 1:
        raise UserError(
            f"batch norm needs 2 images or more to share statistics, and {forward} images in {groups} groups have 1: "
            "a larger --batch-size, or fewer --bn-groups or --accumulate"
        )
    notes = []
    if accumulate > 1:
        notes.append(f"{accumulate} micro-batches of {forward} images: BN statistics and in-batch negatives are theirs")
    notes.append(f"BN statistics over {size} images" + (f", {groups} groups" if groups > 1 else ""))
    if getattr(getattr(method, "target", None), "shuffle", False) and groups == 1:
        notes.append("ShuffleBN shuffles nothing with one group of BN statistics (--bn-groups)")
    return size, notes


def _negatives(method: BuildsMethod, forward: int) -> dict[str, int]:
    if not isinstance(method, Method):
        return {}
    found = {term.name: term.objective.negatives(forward, read.embeddings(term, method)) for term in method.terms}
    return {name: count for name, count in found.items() if count is not None}
