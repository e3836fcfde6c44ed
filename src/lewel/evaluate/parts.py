"""Labelled images, in the two parts that every evaluation needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sized
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from lewel.data import sample
from lewel.data.decode import first_few, printable
from lewel.data.images import Source
from lewel.errors import UserError


@dataclass(frozen=True, eq=False)
class Labelled:
    """n images, and what is to be told of each.

    targets: (n,) int64 class numbers, or (n, a) uint8, 1 where the image has the attribute, else 0.
    names: of the classes, or of the a attributes.
    """

    images: Source
    targets: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_multilabel(self) -> bool:
        return self.targets.ndim == 2

    def labels_of(self, images: Int[Tensor, " b"]) -> Shaped[Tensor, "b ..."]:
        """The targets of those images, where the indices are."""
        return torch.from_numpy(self.targets)[images.cpu()].to(images.device)

    def subset(self, indices: np.ndarray) -> Labelled:
        """Those images, in that order, with the same names."""
        return replace(self, images=self.images.subset(indices), targets=self.targets[indices])

    @cached_property
    def digest(self) -> str:
        """sha256 of the images' names (pixels, of those that have none), the targets, the names of the classes, and a
        sample of what is in the files (`data.sample`)."""
        little = self.targets.astype(self.targets.dtype.newbyteorder("<"))
        found = hashlib.sha256(self.images.digest().encode())
        found.update(little.tobytes())
        found.update("\0".join(self.names).encode())
        found.update(sample.digest(self.images).encode())
        return found.hexdigest()

    def counts(self) -> np.ndarray:
        """(classes,) int64: images of each class, or with each attribute."""
        if self.is_multilabel:
            return self.targets.sum(axis=0, dtype=np.int64)
        return np.bincount(self.targets, minlength=len(self.names))

    def facts(self) -> dict[str, Any]:
        """What results.json says of them."""
        counts = self.counts()
        return {
            "from": printable(self.images.root),
            "images": len(self),
            "per_attribute" if self.is_multilabel else "per_class": {
                "fewest": int(counts.min()),
                "most": int(counts.max()),
            },
            "digest": self.digest,
        }


Part = TypeVar("Part", bound=Sized)


@dataclass(frozen=True)
class Divided(Generic[Part]):
    """What is learned from, what it is measured on, and the facts of both for results.json.

    notes: sentences for the user on what was found, and what was left out.
    """

    train: Part
    val: Part
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def divided(data: str, train: Labelled, val: Labelled, split: dict[str, Any], **facts: Any) -> Divided[Labelled]:
    """The two parts of `data` with their facts. split: how they were divided.

    Raises UserError for an empty part, one class, or classes of val that train lacks.
    """
    for part, images in (("train", train), ("val", val)):
        if not len(images):
            raise UserError(f"--data {data}: no images for {part}; both parts need some")
    there = np.flatnonzero(train.counts())
    if not train.is_multilabel:
        if len(there) < 2:
            one = printable(train.names[int(there[0])])
            raise UserError(f"--data {data}: only one class, {one}; an evaluation needs two")
        if len(missing := np.setdiff1d(val.targets, there)):
            raise UserError(missing_in_train(data, [val.names[number] for number in missing]))
    return Divided(
        train,
        val,
        {
            "data": data,
            **facts,
            "split": split,
            **({"attributes": list(train.names)} if train.is_multilabel else {"classes": len(train.names)}),
            "train": train.facts(),
            "val": val.facts(),
        },
        tuple(dict.fromkeys((*train.images.notes, *val.images.notes))),
    )


def missing_in_train(data: str, classes: list[str]) -> str:
    """What is said of classes that val has and train lacks."""
    return (
        f"--data {data}: {len(classes)} classes of val are missing in train: {first_few(classes, 5)}; "
        "nothing could learn them: add images of them to train, or leave them out of val"
    )
