"""kNN: the class of an image by the vote of its k nearest training images; frozen features, nothing is trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T) (Wu et al. 2018). Keys come
from the training split, queries from the validation split; the two are never mixed.

A class without a single vote scores -inf, so where the true class has none it is a miss of top-5 too, even if fewer
than five classes have votes: no number may hang on the order of the classes.

The keys are gone through in parts, the nearest so far kept, so that the 1.28 million of ImageNet need a few hundred MB
beyond their own.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from lewel.engine.progress import Progress
from lewel.evaluate import predictions
from lewel.evaluate.classification import Outcome
from lewel.evaluate.job import Job, Values
from lewel.evaluate.tasks import Knn

QUERIES, KEYS = 1024, 16_384  # whose similarities are in memory at the same time
LONG = 2e11  # products of numbers, some seconds on 2 cores: from there on progress is shown


class Nearest(NamedTuple):
    """The k largest similarities of each query, and the numbers of their keys, in the order of the keys."""

    similarity: Float[Tensor, "queries k"]
    keys: Int[Tensor, "queries k"]


def evaluate(job: Job) -> Values:
    """Top-1 and top-5 of val, the keys being all images of train."""
    task, train, val = job.protocol.task_as(Knn), job.data.train, job.data.val
    keys, of_keys = job.features(train)
    queries, of_queries = job.features(val)
    key_labels, labels = train.labels_of(of_keys), val.labels_of(of_queries)
    scores = votes(keys, key_labels, queries, len(train.names), task.k, task.temperature, job.console)
    outcome = Outcome.of(scores, labels, of_queries)
    predictions.write(job.directory, outcome.arrays())
    yield from outcome.values(val.names)


@torch.no_grad()
def votes(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    classes: int,
    k: int,
    temperature: float,
    console: Console | None = None,
) -> Float[Tensor, "queries classes"]:
    """What the k nearest keys of each query give to each class, exp((similarity - the largest) / temperature) each.

    So the nearest gives 1, and no temperature is too small for the number format. A class that none of them has: -inf.
    With fewer keys than k all vote. console: where progress is shown if it takes long.
    """
    found = queries.new_full((len(queries), classes), -torch.inf)
    long = len(keys) * queries.numel() >= LONG
    progress = Progress(len(queries), console=console, unit="query") if console is not None and long else None
    began = time.monotonic()
    with progress or nullcontext():
        for first in range(0, len(queries), QUERIES):
            here = slice(first, first + QUERIES)
            near = nearest(keys, queries[here], k)
            weights = ((near.similarity - near.similarity.amax(dim=1, keepdim=True)) / temperature).exp()
            of_class = key_labels[near.keys]
            found[here].scatter_(1, of_class, 0.0).scatter_add_(1, of_class, weights)
            if progress is not None:
                done = min(here.stop, len(queries))
                speed = done / max(time.monotonic() - began, 1e-9)
                left = (len(queries) - done) / speed
                progress.show({"step": done, "images_per_s": speed, "left_s": left}, final=done == len(queries))
    return found


def nearest(keys: Float[Tensor, "keys c"], queries: Float[Tensor, "queries c"], k: int, chunk: int = KEYS) -> Nearest:
    """By cosine; of equally near keys the lower come first. With fewer keys than k all of them."""
    queries = functional.normalize(queries, dim=1)
    best = Nearest(queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64).to(keys.device))
    for first in range(0, len(keys), chunk):
        similarity = queries @ functional.normalize(keys[first : first + chunk], dim=1).T
        places = _largest(similarity, k)
        similarity = torch.cat([best.similarity, similarity.gather(1, places)], dim=1)
        numbers = torch.cat([best.keys, first + places], dim=1)
        places = _largest(similarity, k)
        best = Nearest(similarity.gather(1, places), numbers.gather(1, places))
    return best


def _largest(values: Float[Tensor, "n m"], k: int) -> Int[Tensor, "n k"]:
    """The places of each row's k largest values, in their order; of equal ones the lower, which topk does not say."""
    k = min(k, values.shape[1])
    top, places = values.topk(min(k + 1, values.shape[1]), dim=1)
    places = places[:, :k]
    tied = (top[:, k - 1] == top[:, -1]).nonzero().flatten() if top.shape[1] > k else places.new_empty(0)
    for rows in tied.split(64):  # a sort of whole rows takes more time and memory
        places[rows] = values[rows].argsort(dim=1, descending=True, stable=True)[:, :k]
    return places.sort(dim=1).values
