"""kNN: the class of an image by the vote of its k nearest training images; frozen features, nothing is trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T) (Wu et al. 2018). Keys come
from the training split, queries from the validation split; the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lewel import config
from lewel.data.images import Source
from lewel.data.loader import evaluation_batches
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.shapes import Batch, Skip

K, TEMPERATURE = 20, 0.07


def top1(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    query_labels: Int[Tensor, " queries"],
) -> float:
    """The share of `predict`'s classes that are right, in per cent."""
    return 100 * (predict(keys, key_labels, queries) == query_labels).double().mean().item()


def labelled_features(
    encoder: nn.Module,
    images: Source,
    data: config.Data,
    precision: Precision,
    workers: int = 0,
    skipped: list[Skip] | None = None,
) -> tuple[Float[Tensor, "images c"], Int[Tensor, " images"]]:
    """`features` of the images' central crops at the training's size, and their labels, which they must have."""
    assert images.labels is not None
    batches = evaluation_batches(images, data.image_size, 256, workers, data.mean, data.std, precision.device)
    rows, indices = features(encoder, _noted(batches, [] if skipped is None else skipped), precision)
    return rows, torch.from_numpy(images.labels).to(rows.device)[indices]


def _noted(batches: Iterable[Batch], skipped: list[Skip]) -> Iterator[Batch]:
    for batch in batches:
        skipped += batch.skipped
        yield batch


@torch.no_grad()
def features(
    encoder: nn.Module, batches: Iterable[Batch], precision: Precision
) -> tuple[Float[Tensor, "images c"], Int[Tensor, " images"]]:
    """Pooled fp32 features and the images' indices, on the device. The encoder is in eval mode, then as it was.

    Uses no random numbers and changes no state.
    """
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    rows, indices = [], []
    try:
        for batch in batches:
            with precision.autocast():
                rows.append(encoder(batch.views[0].pixels).mean(dim=(2, 3)).float())
            indices.append(batch.indices.to(precision.device))
    finally:
        for module in training:
            module.training = True
    if not sum(map(len, indices)):
        raise UserError("none of the images to evaluate on can be read; give others in --data")
    return torch.cat(rows), torch.cat(indices)


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
