"""How the embeddings of two views are compared. Each returns the mean over its b * n rows, in fp32 or better.

`a` has gradient (online, after the predictor), `b` has none (target).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lewel import parallel
from lewel.model.maps import at_least_fp32


def unit(x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    return functional.normalize(at_least_fp32(x), dim=-1)


class Cosine(nn.Module):
    """2 - 2 cos(a, b): BYOL, eq. 5."""

    def forward(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
        return 2 - 2 * (unit(a) * unit(b)).sum(dim=-1).mean()


class QueueInfoNCE(nn.Module):
    """InfoNCE of row i against its own key and the `size` latest keys of other images: MoCo, eq. 4.

    The queue starts as random unit vectors. `enqueue` takes the keys of the step from every process in the order of the
    ranks, so that the queues stay equal; the loss itself changes nothing.
    """

    queue: Float[Tensor, "d size"]
    queue_ptr: Tensor

    def __init__(self, dim: int, size: int, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("queue", functional.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("queue_ptr", torch.zeros((), dtype=torch.long))

    def logits(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, "rows classes"]:
        """Class 0 is the positive, classes 1.. the queue."""
        with torch.autocast(a.device.type, enabled=False):
            a, b = unit(a).flatten(0, 1), unit(b).flatten(0, 1)
            return torch.cat([(a * b).sum(dim=1, keepdim=True), a @ self.queue.to(a.dtype)], dim=1) / self.temperature

    def forward(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
        logits = self.logits(a, b)
        return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "b n d"]) -> None:
        rows = parallel.all_gather(unit(keys).flatten(0, 1)).to(self.queue.dtype)
        places = (self.queue_ptr + torch.arange(len(rows), device=rows.device)) % self.queue.shape[1]
        self.queue[:, places] = rows.T
        self.queue_ptr.copy_((self.queue_ptr + len(rows)) % self.queue.shape[1])


class InBatchInfoNCE(nn.Module):
    """InfoNCE against the target's embeddings of all *other* images of the global batch: LEWEL_M's aligned term, eq. 4.

    Every index of another image is a negative, or with `same_index` only the row's own index. An image's other
    embeddings are never negatives.
    """

    def __init__(self, temperature: float, same_index: bool = False):
        super().__init__()
        self.temperature, self.same_index = temperature, same_index

    def forward(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
        with torch.autocast(a.device.type, enabled=False):
            a, b = unit(a), unit(b)
            positive = (a * b).sum(dim=2) / self.temperature  # b n
            everyone = parallel.all_gather(b)  # B n d
            if self.same_index:
                others = torch.einsum("ikd,jkd->ikj", a, everyone)  # b n B
            else:
                others = torch.einsum("ikd,jld->ikjl", a, everyone)  # b n B n
            own = torch.arange(len(a), device=a.device)
            mask = torch.zeros(len(a), len(everyone), dtype=torch.bool, device=a.device)
            mask[own, own + parallel.rank() * len(a)] = True
            mask = mask[:, None, :] if self.same_index else mask[:, None, :, None]
            others = (others / self.temperature).masked_fill(mask, float("-inf")).flatten(2)
            return (torch.logaddexp(positive, others.logsumexp(dim=2)) - positive).mean()
