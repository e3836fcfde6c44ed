"""A quick linear probe: one linear layer on cached features, fitted to the end by L-BFGS; "was it worth it?".

Not the paper's linear protocol: no augmentation, no schedule, so its number is about the features and takes seconds.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

DECAY = 1e-3  # of |weights|^2, on standardised features


def probe_top1(
    keys: Float[Tensor, "keys c"],
    key_labels: Int[Tensor, " keys"],
    queries: Float[Tensor, "queries c"],
    query_labels: Int[Tensor, " queries"],
    iterations: int = 200,
) -> float:
    """Top-1 in per cent of `queries` by softmax regression fitted on `keys`, from zero weights."""
    mean, std = keys.mean(dim=0), keys.std(dim=0).clamp(min=1e-6)
    keys, queries = (keys - mean) / std, (queries - mean) / std
    weight = keys.new_zeros(int(key_labels.max()) + 1, keys.shape[1], requires_grad=True)
    bias = keys.new_zeros(len(weight), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(functional.linear(keys, weight, bias), key_labels)
        loss = loss + DECAY * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    predicted = functional.linear(queries, weight, bias).argmax(dim=1)
    return 100 * (predicted == query_labels).double().mean().item()
