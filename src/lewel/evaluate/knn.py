"""kNN: the class of an image by the vote of its k nearest training images; frozen features, nothing is trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T) (Wu et al. 2018). Keys come
from the training split, queries from the validation split; the two are never mixed.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lewel import config
from lewel.data.images import Source, relabelled
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate.features import labelled_features
from lewel.shapes import Skip

K, TEMPERATURE = 20, 0.07


def knn_top1(
    features: nn.Module,
    keys: Source,
    queries: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
) -> float:
    """Top-1 in per cent of `queries` among `keys`, both labelled, seen as one central crop of the training's size.

    features: images (b, 3, h, w) -> (b, c), as in `lewel.evaluate.features`.
    skipped: takes the images that could not be read; they neither vote nor count.
    Classes are matched by name. Raises UserError without labels, or for a class without keys.
    """
    if keys.labels is None or queries.labels is None:
        raise UserError("kNN needs labels: --data with train/CLASS/... and val/CLASS/..., or --knn-every 0")
    queries = relabelled(queries, keys.classes or [])
    key_rows, key_labels = labelled_features(features, keys, data, precision, workers, skipped)
    query_rows, query_labels = labelled_features(features, queries, data, precision, workers, skipped)
    return top1(key_rows, key_labels, query_rows, query_labels)


def top1(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    query_labels: Int[Tensor, " queries"],
) -> float:
    """The share of `predict`'s classes that are right, in per cent."""
    return 100 * (predict(keys, key_labels, queries) == query_labels).double().mean().item()


@torch.no_grad()
def predict(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    k: int = K,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Int[Tensor, " queries"]:
    """The class with the largest vote for each query; ties go to the lower. With fewer keys than k all vote."""
    keys = functional.normalize(keys, dim=1)
    classes = int(key_labels.max()) + 1
    found = []
    for part in functional.normalize(queries, dim=1).split(chunk):
        similarity, nearest = (part @ keys.T).topk(min(k, len(keys)), dim=1)
        votes = torch.zeros(len(part), classes, device=keys.device, dtype=keys.dtype)
        votes.scatter_add_(1, key_labels[nearest], (similarity / temperature).exp())
        found.append(votes.argmax(dim=1))
    return torch.cat(found)
