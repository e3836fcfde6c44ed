"""kNN: the class of an image by the vote of its k nearest training images, frozen features, nothing trained.

Cosine similarity of globally pooled features; a neighbour's vote weighs exp(similarity / T). k = 20, T = 0.07 unless said otherwise
(Wu et al. 2018 use k = 200). Keys come from the training split, queries from the validation split: the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


@torch.no_grad()
def features(
    encoder: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, dtype: torch.dtype | None = None
) -> tuple[Float[Tensor, "images c"], Int[Tensor, " images"]]:
    """Pooled fp32 features and labels of (pixels, labels) batches, on `device`; the encoder in eval mode, then as it was.

    dtype: autocast's type, or None for the weights' own. Uses no random numbers and changes no state of the encoder.
    """
    was_training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    rows, labels = [], []
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            for pixels, label in batches:
                pixels = pixels.to(device, memory_format=torch.channels_last, non_blocking=True)
                rows.append(encoder(pixels).mean(dim=(2, 3)).float())
                labels.append(label.to(device))
    finally:
        for module in was_training:
            module.training = True
    return torch.cat(rows), torch.cat(labels)


@torch.no_grad()
def predict(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    k: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Int[Tensor, " queries"]:
    """The class with the largest vote for each query; ties go to the lower class."""
    k = min(k, len(keys))
    classes = int(key_labels.max()) + 1
    keys = functional.normalize(keys, dim=1)
    found = []
    for part in functional.normalize(queries, dim=1).split(chunk):
        similarity, nearest = (part @ keys.T).topk(k, dim=1)
        votes = torch.zeros(len(part), classes, device=keys.device, dtype=keys.dtype)
        votes.scatter_add_(1, key_labels[nearest], (similarity / temperature).exp())
        found.append(votes.argmax(dim=1))
    return torch.cat(found)


def accuracy(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> float:
    """Top-1 in per cent."""
    return 100 * (predicted == labels).float().mean().item()
