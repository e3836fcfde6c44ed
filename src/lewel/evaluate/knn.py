"""kNN: the class of an image by the vote of its k nearest training images; frozen features, nothing is trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T) (Wu et al. 2018). Keys come
from the training split, queries from the validation split; the two are never mixed.

A class without a single vote scores -inf, so where the true class has none it is a miss of top-5 too, even if fewer
than five classes have votes: no number may hang on the order of the classes.

The keys are gone through in parts, the nearest so far kept, so that the 1.28 million of ImageNet need a few hundred MB
beyond their own. A query has votes for at most k classes, and only these are kept: memory does not depend on how many
classes there are.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lewel.console import Console
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


class Votes(NamedTuple):
    """What the nearest keys of each query give to their classes, at most k; any other class has no vote.

    classes: numbers, ascending; after the last one the row is filled up.  votes: sums; -inf where it is filled up.
    """

    classes: Int[Tensor, "queries k"]
    votes: Float[Tensor, "queries k"]

    def predicted(self) -> Int[Tensor, " queries"]:
        """The class with most votes, of equal ones the lowest."""
        return self.classes.gather(1, self.votes.argmax(dim=1, keepdim=True)).flatten()

    def true_rank(self, labels: Int[Tensor, " queries"], classes: int) -> Int[Tensor, " queries"]:
        """As `metrics.true_rank` of the scores of all classes."""
        own = self.votes.masked_fill(self.classes != labels[:, None], -torch.inf).amax(dim=1, keepdim=True)
        ahead = (self.votes > own) | ((self.votes == own) & (self.classes < labels[:, None]))
        return ahead.count_nonzero(dim=1).masked_fill(own.flatten() == -torch.inf, classes)


def evaluate(job: Job) -> Values:
    """Top-1 and top-5 of val, the keys being all images of train."""
    task, train, val = job.protocol.task_as(Knn), job.data.train, job.data.val
    keys, of_keys = job.features(train)
    queries, of_queries = job.features(val)
    key_labels, labels = train.labels_of(of_keys), val.labels_of(of_queries)
    found = votes(keys, key_labels, queries, task.k, task.temperature, job.console)
    outcome = classified(found, labels, of_queries, len(train.names))
    predictions.write(job.directory, outcome.arrays())
    yield from outcome.values(val.names)


def classified(found: Votes, labels: Int[Tensor, " queries"], images: Int[Tensor, " queries"], classes: int) -> Outcome:
    """What the votes say of the queries, which have these labels."""
    each = (images, labels, found.predicted(), found.true_rank(labels, classes))
    return Outcome(*(values.cpu().numpy() for values in each))


@torch.no_grad()
def votes(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    k: int,
    temperature: float,
    console: Console | None = None,
) -> Votes:
    """What the k nearest keys of each query give to each class, exp((similarity - the largest) / temperature) each.

    So the nearest gives 1, and no temperature is too small for the number format.
    With fewer keys than k all vote. console: where progress is shown if it takes long.
    """
    parts = list[Votes]()
    long = len(keys) * queries.numel() >= LONG
    progress = Progress(len(queries), console=console, unit="query") if console is not None and long else None
    began = time.monotonic()
    with progress or nullcontext():
        for first in range(0, len(queries), QUERIES):
            near = nearest(keys, queries[first : first + QUERIES], k)
            weights = ((near.similarity - near.similarity.amax(dim=1, keepdim=True)) / temperature).exp()
            parts.append(_by_class(key_labels[near.keys], weights))
            if progress is not None:
                done = min(first + QUERIES, len(queries))
                speed = done / max(time.monotonic() - began, 1e-9)
                left = (len(queries) - done) / speed
                progress.show({"step": done, "images_per_s": speed, "left_s": left}, final=done == len(queries))
    return Votes(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _by_class(classes: Int[Tensor, "n k"], weights: Float[Tensor, "n k"]) -> Votes:
    """The sums of the weights over the neighbours of a class, added in their order."""
    ascending, order = classes.sort(dim=1, stable=True)
    begins = torch.ones_like(ascending, dtype=torch.bool)
    begins[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    places = begins.cumsum(dim=1) - 1
    sums = torch.full_like(weights, -torch.inf)
    sums.scatter_(1, places, 0.0).scatter_add_(1, places, weights.gather(1, order))
    return Votes(ascending[:, -1:].expand_as(ascending).scatter(1, places, ascending), sums)


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
