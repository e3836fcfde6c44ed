"""How the embeddings of two views are compared. Each returns the mean over its b * n rows, in fp32 or better.

`a` has gradient (online, after the predictor), `b` has none (target).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lewel import parallel
from lewel.model.maps import at_least_fp32
from lewel.shapes import Compared


def _at_once(x: Tensor) -> int:
    """Logits in memory: what a CPU's cache holds, 4 MiB in fp32; on a GPU enough to keep it busy."""
    return 2**20 if x.device.type == "cpu" else 2**24


def unit(x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    return functional.normalize(at_least_fp32(x), dim=-1)


class Cosine(nn.Module):
    """2 - 2 cos(a, b): BYOL, eq. 5. With pairs, their weighted mean, 0 for an image without."""

    takes_pairs = True

    def forward(
        self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b m d"], pairs: Float[Tensor, "b n m"] | None = None
    ) -> Float[Tensor, ""]:
        if pairs is not None:
            return (pairs * (2 - 2 * unit(a) @ unit(b).transpose(1, 2))).sum(dim=(1, 2)).mean()
        return 2 - 2 * (unit(a) * unit(b)).sum(dim=-1).mean()


class QueueInfoNCE(nn.Module):
    """InfoNCE of row i against its own key and the `size` latest keys of other images: MoCo, eq. 4.

    The queue starts as random unit vectors. After a step it takes the keys of the first direction from every process in
    the order of the ranks, so that the queues stay equal; the loss itself changes nothing.
    """

    queue: Float[Tensor, "d size"]
    queue_ptr: Tensor

    def __init__(self, dim: int, size: int, temperature: float, takes: Literal["rows", "mean"] = "rows"):
        super().__init__()
        self.temperature, self.takes = temperature, takes
        self.register_buffer("queue", functional.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("queue_ptr", torch.zeros((), dtype=torch.long))

    def forward(self, a: Float[Tensor, "b n d"], b: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
        with torch.autocast(a.device.type, enabled=False):
            rows, keys = unit(a).flatten(0, 1) / self.temperature, unit(b).flatten(0, 1)
            return _Queue.apply(rows, keys, self.queue.to(rows.dtype))  # pyright: ignore[reportReturnType]  # untyped

    def after_step(self, *compared: Compared) -> None:
        keys = compared[0].target
        self.enqueue(keys if self.takes == "rows" else keys.mean(dim=1, keepdim=True))

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "b n d"]) -> None:
        rows = parallel.all_gather(unit(keys).flatten(0, 1)).to(self.queue.dtype)
        places = (self.queue_ptr + torch.arange(len(rows), device=rows.device)) % self.queue.shape[1]
        self.queue[:, places] = rows.T
        self.queue_ptr.copy_((self.queue_ptr + len(rows)) % self.queue.shape[1])


class _Queue(torch.autograd.Function):
    """Cross-entropy of each row over its own key and all of the queue, some columns of the queue at a time.

    In one pass over the columns: exponentials are kept relative to the largest logit so far, and so is the gradient,
    d loss / d row = (softmax(logits) @ [key, queue] - key) / rows. The queue and the keys have no gradient.
    """

    @staticmethod
    def forward(ctx, rows: Float[Tensor, "n d"], keys: Float[Tensor, "n d"], queue: Tensor) -> Float[Tensor, ""]:
        positive = (rows * keys).sum(dim=1, keepdim=True)
        most, total, pull = positive, torch.ones_like(positive), keys
        for part in queue.split(max(1, _at_once(rows) // len(rows)), dim=1):
            logits = rows @ part
            most, before = torch.maximum(most, logits.amax(dim=1, keepdim=True)), most
            shrink, weights = (before - most).exp(), logits.sub_(most).exp_()
            total = total * shrink + weights.sum(dim=1, keepdim=True)
            pull = pull * shrink + weights @ part.T
        ctx.save_for_backward((pull / total - keys).div_(len(rows)))
        return (most + total.log() - positive).mean()

    @staticmethod
    def backward(ctx, d_loss: Float[Tensor, ""]) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * d_loss, None, None


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
            rows, keys = unit(a) / self.temperature, parallel.all_gather(unit(b))
            first = parallel.rank() * len(a)  # where this process's images are among the keys
            if self.same_index:
                own = first + torch.arange(len(a), device=a.device)
                logits = torch.einsum("ikd,jkd->kij", rows, keys)  # the positive is one of the classes
                return functional.cross_entropy(logits.flatten(0, 1), own.repeat(a.shape[1]))
            return _OtherImages.apply(rows, keys, first)  # pyright: ignore[reportReturnType]  # apply is untyped


class _OtherImages(torch.autograd.Function):
    """Cross-entropy of row (i, k) over its own key (i, k) and all keys (j, l) of other images j.

    The b n x B n logits are the largest tensor of a step by far, so they are made a few images at a time, and the
    gradient with them: d loss / d row = (softmax(logits) - positive) @ keys / rows. The keys have no gradient.
    """

    @staticmethod
    def forward(ctx, rows: Float[Tensor, "b n d"], keys: Float[Tensor, "B n d"], first: int) -> Float[Tensor, ""]:
        b, n, _ = rows.shape
        flat = keys.flatten(0, 1)
        gradient, losses = torch.empty_like(rows), []
        own_block = rows.new_full((n, n), float("-inf")).fill_diagonal_(0)  # of its own image only the positive stays
        at_once = max(1, _at_once(rows) // (n * len(flat)))
        for begin in range(0, b, at_once):
            part = rows[begin : begin + at_once]
            image = torch.arange(len(part), device=rows.device)
            logits = (part.flatten(0, 1) @ flat.T).view(len(part), n, -1, n)
            logits[image, :, first + begin + image] += own_block
            positive = logits[image, :, first + begin + image].diagonal(dim1=1, dim2=2)
            logits = logits.flatten(2)
            total = logits.logsumexp(dim=2, keepdim=True)
            losses.append((total.squeeze(2) - positive).sum())
            weights = logits.sub_(total).exp_().flatten(0, 1)
            mine = keys[first + begin : first + begin + len(part)]
            gradient[begin : begin + at_once] = (weights @ flat).view_as(part) - mine
        ctx.save_for_backward(gradient.div_(b * n))
        return torch.stack(losses).sum() / (b * n)

    @staticmethod
    def backward(ctx, d_loss: Float[Tensor, ""]) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * d_loss, None, None
