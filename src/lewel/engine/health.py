"""Is it working? What can be seen without labels, and a plain verdict.

spread/TERM   std over the batch of the unit embeddings, times sqrt(d): 1 = spread over the sphere, 0 = one point
rankme        effective rank of the pooled features of the last images (RankMe, Garrido et al. 2023, eq. 1)
rankme_limit  what it could be at most: the number of these images or of the channels, whichever is less
entropy/TERM  entropy of the alignment maps over log p: 1 = uniform
differ/TERM   share of the maps whose shape depends on the image, and not on the position alone
target_distance and whatever else the module's `diagnostics()` returns
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 512  # images; RankMe cannot exceed it
COLLAPSED = 0.1  # spread: the mean cosine between two images is above 0.99
LOW_RANK = 0.05  # of rankme_limit: runs below it had kNN far under the untrained encoder's (docs/log.md)
LASTING = 3  # logged rows in a row that must agree before the verdict is "collapsing": LEWEL_B dips early and recovers
FEW_IMAGES = 16  # for one group of batch norm statistics


@runtime_checkable
class Diagnosed(Protocol):
    """A module that can say more about itself."""

    def diagnostics(self) -> dict[str, float]: ...


class Verdict(NamedTuple):
    """word: "healthy" | "warming up" | "low rank" | "collapsing".   reason: "" or a sentence with the likely cause."""

    word: str
    reason: str

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def spread(rows: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """std over images of the unit embeddings, mean over indices and dimensions, times sqrt(d)."""
    unit = functional.normalize(rows.float(), dim=-1)
    return unit.std(dim=0, correction=0).mean() * math.sqrt(rows.shape[-1])


def entropy(maps: Float[Tensor, "b m h w"]) -> Float[Tensor, ""]:
    """Mean entropy of the maps as a share of log p, the uniform map's."""
    weights = maps.float().flatten(2)
    return torch.special.entr(weights).sum(-1).mean() / math.log(weights.shape[-1])


def differ(maps: Float[Tensor, "b m h w"]) -> Float[Tensor, ""]:
    """Share of the m maps that look elsewhere in another image.

    A map does where its variance over images (mean over positions) is more than a tenth of its variance over positions
    (mean over images): not if it is a fixed pattern, nor if it is uniform.
    """
    weights = maps.double() if maps.device.type != "mps" else maps.float()
    weights = weights.flatten(2)
    over_images = weights.var(dim=0, correction=0).mean(-1)
    over_positions = weights.var(dim=2, correction=0).mean(0)
    uniform = over_positions.sqrt() * weights.shape[-1] < 1e-4
    return ((over_images > 0.1 * over_positions) & ~uniform).float().mean()


def rankme(features: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """exp of the entropy of the singular values' shares."""
    x = features.cpu().double() if features.device.type == "mps" else features.double()
    gram = x @ x.t() if len(x) < x.shape[1] else x.t() @ x
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp().float()


class Health:
    """Collects at every step, without waiting for the device; measures when asked.

    rejected: steps since the last row that was recorded. Checkpoints keep the state: a run that goes on records the
    rows of an unbroken one.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.rejected = 0
        self._pooled: list[Tensor] = []

    def state(self) -> dict[str, Tensor]:
        """Empty where nothing was observed."""
        pooled = {"pooled": torch.cat(self._pooled)[-self.window :]} if self._pooled else {}
        return pooled | ({"rejected": torch.tensor(self.rejected)} if pooled or self.rejected else {})

    def load_state(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from a state; an empty one, which older checkpoints have, is that of a new run."""
        self._pooled = [state["pooled"].to(device)] if "pooled" in state else []
        self.rejected = int(state["rejected"]) if "rejected" in state else 0

    def observe(self, out: Mapping[str, Any]) -> None:
        """Keep the pooled features of an `out`; they stay on the device."""
        if "pooled" not in out:
            return
        self._pooled.append(out["pooled"].detach()[: self.window])
        while sum(map(len, self._pooled[1:])) >= self.window:
            del self._pooled[0]

    def measure(self, out: Mapping[str, Any], module: nn.Module) -> dict[str, float]:
        """The numbers of the table above for the last `out`; one transfer from the device."""
        found: dict[str, Tensor] = {}
        for name, value in out.items():
            if name.startswith("loss/"):
                found[name] = value
        for term, rows in out.get("embeddings", {}).items():
            if len(rows) > 1:
                found[f"spread/{term}"] = spread(rows)
        for term, maps in out.get("maps", {}).items():
            found[f"entropy/{term}"] = entropy(maps)
            if len(maps) > 1:
                found[f"differ/{term}"] = differ(maps)
        if self._pooled:
            rows = torch.cat(self._pooled)[-self.window :]
            found["rankme"] = rankme(rows).to(rows.device)
            found["rankme_limit"] = rows.new_tensor(min(rows.shape))
        numbers = torch.stack([value.detach().float() for value in found.values()]).tolist() if found else []
        more = module.diagnostics() if isinstance(module, Diagnosed) else {}
        return dict(zip(found, numbers, strict=True)) | more


def verdict(history: Sequence[Mapping[str, Any]], warmup_steps: int = 0, bn_images: int | None = None) -> Verdict:
    """What the logged rows say, oldest first.

    Read: "step", "loss", "spread/*", "rankme", "rankme_limit", "gradient_norm", "target_distance"; each may be missing.
    warmup_steps: until then, and for the first three rows, a collapse is not called one.
    bn_images: images that share batch norm statistics.
    """
    if not history:
        return Verdict("warming up", "")
    row, recent = history[-1], history[-LASTING:]
    if "loss" in row and not _finite(row["loss"]):
        return Verdict("collapsing", f"the loss is not finite; {_cause(history, bn_images)}")
    if len(recent) == LASTING and all("gradient_norm" in r and not _finite(r["gradient_norm"]) for r in recent):
        return Verdict("collapsing", f"the gradient is not finite; {_cause(history, bn_images)}")
    low = _low_terms(recent)
    if row.get("step", 0) <= warmup_steps or len(history) < LASTING:
        return Verdict("warming up", f"the {low[0]} embeddings are close together, as is usual now" if low else "")
    if low:
        what = f"the {low[0]} embeddings are nearly the same for all images (spread {row[f'spread/{low[0]}']:.2g})"
        return Verdict("collapsing", f"{what}; {_cause(history, bn_images)}")
    if _rank_lost(history):
        what = f"the features use {row['rankme']:.1f} dimensions (RankMe)"
        return Verdict("collapsing", f"{what}; {_cause(history, bn_images)}")
    if _rank_low(recent):
        what = f"the features use {row['rankme']:.0f} of {row['rankme_limit']:.0f} dimensions (RankMe)"
        return Verdict("low rank", f"{what}; {_cause(history, bn_images)}")
    return Verdict("healthy", "")


def _finite(value: object) -> TypeGuard[float]:
    """The record has null for what was not finite; a row from a file may hold anything."""
    return isinstance(value, int | float) and math.isfinite(value)


def _low_terms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Terms whose spread is low in all of the rows."""
    names = [name for name in rows[-1] if name.startswith("spread/")]
    low = [name for name in names if all(_finite(row.get(name)) and row[name] < COLLAPSED for row in rows)]
    return [name.removeprefix("spread/") for name in low]


def _rank_lost(history: Sequence[Mapping[str, Any]]) -> bool:
    ranks = [row["rankme"] for row in history if _finite(row.get("rankme"))]
    return len(ranks) > LASTING and all(rank < min(0.1 * max(ranks), 4.0) for rank in ranks[-LASTING:])


def _rank_low(rows: Sequence[Mapping[str, Any]]) -> bool:
    known = [row for row in rows if _finite(row.get("rankme")) and _finite(row.get("rankme_limit"))]
    return len(known) == LASTING and all(row["rankme"] < LOW_RANK * row["rankme_limit"] for row in known)


def _cause(history: Sequence[Mapping[str, Any]], bn_images: int | None) -> str:
    """The likely cause, most telling sign first."""
    norms = [row["gradient_norm"] for row in history if _finite(row.get("gradient_norm"))]
    distance = history[-1].get("target_distance")
    if len(norms) > LASTING and norms[-1] > 10 * statistics.median(norms[:-1]):
        return "likely cause: the learning rate is too high (the gradient grew tenfold); lower --lr"
    if bn_images is not None and bn_images < FEW_IMAGES:
        few = f"likely cause: batch norm statistics over {bn_images} images"
        return f"{few}; raise --batch-size, or use SyncBN (--bn-groups 1)"
    if _finite(distance) and distance < 1e-3:
        return "likely cause: the target follows too closely; raise the target's momentum (--momentum)"
    return "likely cause: the learning rate is too high; lower --lr"
