"""Which images a network finds alike: the nearest ones to a few, by the cosine of pooled features.

The same under untrained weights, those that a run began with, and the trained ones, so that one sees what was learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lewel import config
from lewel.console import Console
from lewel.data.decode import DecodeError
from lewel.data.images import Source, evenly, is_divided, mixed, open_images
from lewel.errors import UserError
from lewel.evaluate import features
from lewel.evaluate.subject import Subject, open_subject
from lewel.interop import runs


class Column(NamedTuple):
    """What one network finds.  neighbours, cosine: (q, k), nearest first; numbers of the gallery's images."""

    title: str
    note: str
    neighbours: Int[np.ndarray, "q k"]
    cosine: Float[np.ndarray, "q k"]


@dataclass(frozen=True)
class Found:
    """Images, those nearest to them, and what the page says of both."""

    subject: Subject
    data: config.Data
    queries: Source  # the images that are asked for, q of them
    gallery: Source  # where neighbours are looked for
    apart: bool  # no query is in the gallery
    about: tuple[str, ...]  # sentences
    columns: list[Column]

    def same(self, column: Column) -> np.ndarray | None:
        """(q, k) bool: which neighbours are of their query's class; None without labels."""
        asked, there = _classes(self.queries), _classes(self.gallery)
        if asked is None or there is None:
            return None
        return asked[:, None] == there[column.neighbours]

    def chance(self) -> float:
        """The share of a query's possible neighbours that are of its class, mean over the queries; needs labels."""
        asked, there = _classes(self.queries), _classes(self.gallery)
        assert asked is not None and there is not None
        itself = 0 if self.apart else 1
        return float(np.mean([((there == one).sum() - itself) / (len(there) - itself) for one in asked]))


class Network(NamedTuple):
    title: str
    note: str
    source: str
    seed: int


def find(
    options: config.Extraction, queries: int, nearest: int, seed: int, most: int, console: Console | None = None
) -> Found:
    """The `nearest` images to each of `queries`, among `most` at most.

    Queries are of val and the others of train where the data are divided; else of the whole, without the query itself.
    seed: which queries, one class after the other, and the random weights.
    Raises UserError: weights or images that cannot be used.
    """
    precision, workers = features.means(options)
    divided = is_divided(options.data)
    gallery = evenly(open_images(options.data, "train" if divided else None), most)
    pool = open_images(options.data, "val") if divided else gallery
    if console is not None:
        for note in dict.fromkeys((*gallery.notes, *pool.notes)):
            console.print(note)
    chosen = np.array(list(_readable(pool, queries, seed)), np.int64)
    if not len(chosen):
        raise UserError(f"--data {options.data}: none of its images can be read; give others")
    asked = pool.subset(chosen)
    subject = open_subject(options.weights)
    data = subject.data(options.image_size)
    columns = []
    for network in networks(options.weights, seed):
        opened = subject if network.source == options.weights else open_subject(network.source, network.seed)
        on = opened.features.to(precision.device)
        if console is not None:
            console.print(f"{network.title.lower()}: {network.note}")
        keys, indices = features.extract(on, gallery, data, precision, workers, console=console)
        rows, _ = features.extract(on, asked, data, precision)
        places, cosine = nearest_rows(rows, keys, nearest, None if divided else _places(indices, chosen))
        columns.append(Column(network.title, network.note, indices.cpu().numpy()[places], cosine))
    return Found(subject, data, asked, gallery, divided, _about(options, divided, asked, gallery, subject), columns)


def networks(weights: str, seed: int) -> list[Network]:
    """Random, initial (of a run) and trained: what each is, and the source to open it from.

    Raises UserError for weights that are untrained themselves.
    """
    kind, _, rest = weights.partition(":")
    if kind == "random":
        raise UserError(f"--weights {weights} are untrained, which is what the page compares with; give a RUN or FILE")
    architecture = rest.partition("=")[0] if kind == "timm" else weights
    began = runs.beginning(Path(weights)) if Path(weights).is_dir() else None
    if began is not None and began.seed == seed:
        seed += 1  # or random and initial would be the same
    found = [Network("Random", f"untrained, seed {seed}", f"random:{architecture}", seed)]
    if began is not None and began.seed is not None:
        found.append(Network("Initial", f"as the run began: untrained, seed {began.seed}", began.source, began.seed))
    elif began is not None:
        found.append(Network("Initial", f"as the run began: {Path(began.source).name}", began.source, seed))
    return [*found, Network("Trained", weights, weights, seed)]


@torch.no_grad()
def nearest_rows(
    queries: Float[Tensor, "q c"], keys: Float[Tensor, "n c"], count: int, itself: Int[np.ndarray, " q"] | None = None
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """The rows of `keys` nearest to each query, nearest first, and their cosines; k = count, or all that there are.

    itself: each query's own row in `keys`, which does not count.
    """
    cosine = functional.normalize(queries, dim=1) @ functional.normalize(keys, dim=1).T
    if itself is not None:
        cosine[torch.arange(len(cosine)), torch.from_numpy(itself)] = -torch.inf
    values, places = cosine.topk(min(count, len(keys) - (itself is not None)), dim=1)
    return places.cpu().numpy(), values.cpu().numpy()


def _readable(images: Source, count: int, seed: int) -> Iterator[int]:
    """The first images of `mixed` that can be read."""
    for index in mixed(images, seed).tolist():
        if count == 0:
            return
        try:
            images.read(index)
        except DecodeError:
            continue
        count -= 1
        yield index


def _places(indices: Tensor, chosen: np.ndarray) -> np.ndarray:
    """Where in the ascending `indices` the chosen images are."""
    return np.searchsorted(indices.cpu().numpy(), chosen)


def _classes(images: Source) -> np.ndarray | None:
    """The name of each image's class: two parts of the data may number them differently."""
    if images.labels is None or images.classes is None:
        return None
    return np.array(images.classes)[images.labels]


def _about(
    options: config.Extraction, divided: bool, queries: Source, gallery: Source, subject: Subject
) -> tuple[str, ...]:
    began = runs.beginning(Path(options.weights)) if Path(options.weights).is_dir() else None
    whole = f"{len(gallery):,} images{' of train' if divided else ''}"
    where = f"{len(queries)} images of val" if divided else f"{len(queries)} of them, none its own neighbour"
    said = [f"Neighbours are looked for among {whole} of {options.data}; the queries are {where}."]
    if began is not None and began.seed is not None:
        said.append(
            "This run began from random weights: initial is an untrained network too, with the run's own seed, and "
            "random is one with another seed."
        )
    return (*said, *(f"{note[0].upper()}{note[1:]}." for note in subject.notes))
