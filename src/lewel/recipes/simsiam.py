"""SimSiam (Chen and He, 2021): a row of the equation. The other view is the online network's own, without gradient.

term     uniform + cosine, predictor      directions  both      target  detached
head     3 layers, batch norm without weight and bias behind the last      weight 1/4: the paper's loss, + 1
"""

from __future__ import annotations

from lewel.config import Data, Encoder, Optimizer, Recipe
from lewel.recipes import views
from lewel.terms import BOTH_WAYS, MLP, Cosine, Detached, Method, Term, Uniform

__all__ = ["simsiam_in1k_100ep", "simsiam_tiny"]


def simsiam(
    encoder: Encoder, *, hidden: int = 2048, dim: int = 2048, predictor: int = 512, bn_groups: int | None = 1
) -> Method:
    """The method. hidden: width of the projector.  predictor: hidden width of the predictor."""
    projector = MLP(dim, (hidden, hidden), out_norm="plain", init="linear")
    predict = MLP(dim, (predictor,), bias="last", init="linear")
    terms = (Term("global", 0.25, Uniform(), projector, predict, Cosine()),)
    return Method(encoder, terms, Detached(), BOTH_WAYS, bn_groups)


def simsiam_in1k_100ep() -> Recipe:
    """SimSiam, ImageNet-1k, 100 epochs, SyncBN; the predictor keeps the first rate.

    Paper: none
    Command: torchrun --nproc-per-node 8 -m lewel pretrain simsiam_in1k_100ep --data imagenet --out simsiam
    Cost: not measured yet
    Expected: 68.1 (its authors' README, batch 512)
    Measured: not measured yet
    """
    method = simsiam(Encoder("resnet50", zero_init_last=True))
    return _recipe("simsiam_in1k_100ep", method, 0.1, 512, Data(224, views.symmetric()), 100, "8 GPUs")


def simsiam_tiny() -> Recipe:
    """SimSiam, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain simsiam_tiny --data images --out simsiam
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = simsiam(Encoder("resnet18", zero_init_last=True), hidden=512, dim=512, predictor=128)
    data = Data(64, views.gentle(views.small(views.symmetric(), 64)))
    return _recipe("simsiam_tiny", method, 0.03, 64, data, 5, "2 CPU cores")


def _recipe(name: str, method: Method, lr: float, batch: int, data: Data, epochs: int, note: str) -> Recipe:
    optimizer = Optimizer("sgd", lr, batch, 1e-4, exclude="nothing", constant=("predictors.",))
    return Recipe(name, method, data, optimizer, epochs, note=note)
