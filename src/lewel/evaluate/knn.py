"""kNN: the class of an image by the vote of its k nearest training images; frozen features, nothing is trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T) (Wu et al. 2018). Keys come
from the training split, queries from the validation split; the two are never mixed.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lewel.evaluate.classification import Outcome
from lewel.evaluate.job import Job, Values
from lewel.evaluate.protocols import Knn

K, TEMPERATURE = 20, 0.07


def top1(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    query_labels: Int[Tensor, " queries"],
) -> float:
    """The share of `predict`'s classes that are right, in per cent."""
    return 100 * (predict(keys, key_labels, queries) == query_labels).double().mean().item()


def predict(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    k: int = K,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Int[Tensor, " queries"]:
    """The class with the largest vote for each query; ties go to the lower. With fewer keys than k all vote."""
    return votes(keys, key_labels, queries, int(key_labels.max()) + 1, k, temperature, chunk).argmax(dim=1)


@torch.no_grad()
def votes(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    classes: int,
    k: int = K,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Float[Tensor, "queries classes"]:
    """What the k nearest keys of each query give to each class, exp((similarity - the largest) / temperature) each.

    So the nearest gives 1, and no temperature is too small for the number format.
    """
    keys = functional.normalize(keys, dim=1)
    found = torch.zeros(len(queries), classes, device=keys.device, dtype=keys.dtype)
    for part, into in zip(functional.normalize(queries, dim=1).split(chunk), found.split(chunk), strict=True):
        similarity, nearest = (part @ keys.T).topk(min(k, len(keys)), dim=1)
        into.scatter_add_(1, key_labels[nearest], ((similarity - similarity[:, :1]) / temperature).exp())
    return found


def evaluate(job: Job) -> Values:
    """Top-1 and top-5 of val, the keys being all images of train."""
    task, train, val = job.protocol.task, job.data.train, job.data.val
    assert isinstance(task, Knn)
    keys, of_keys = job.features(train)
    queries, of_queries = job.features(val)
    key_labels, labels = train.labels_of(of_keys), val.labels_of(of_queries)
    scores = votes(keys, key_labels, queries, len(train.names), task.k, task.temperature)
    yield from Outcome.of(scores, labels, of_queries).values(val.names)
