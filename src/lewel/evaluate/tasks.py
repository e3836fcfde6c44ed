"""The numbers of the classification tasks' protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Knn:
    """Votes of the k nearest, each of weight exp(cosine / temperature)."""

    k: int = 20
    temperature: float = 0.07


@dataclass(frozen=True)
class LinearFast:
    """Softmax regression by L-BFGS; the decay is chosen on a part of the training images."""


@dataclass(frozen=True)
class Linear:
    """Linear classifiers on a frozen encoder, the protocol's and a grid of others, all in one pass over the data.

    optimizer: "lars" adapts every tensor, with the rate outside the momentum buffer, as SimSiam's LARC does.
    milestones: epochs, or fractions of them, at which the rate falls to a tenth; none: a cosine to 0, epoch by epoch.
    rates, decays: the grid: factors of `lr`, and weight decays.
    """

    optimizer: Literal["sgd", "lars"]
    lr: float
    batch_size: int
    epochs: int
    milestones: tuple[float, ...] = ()
    weight_decay: float = 0.0
    momentum: float = 0.9
    evaluate_every: int = 5  # epochs; the best evaluation is the result, as published
    rates: tuple[float, ...] = (1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16, 64)
    decays: tuple[float, ...] = (0.0, 1e-6, 1e-5, 1e-4)


@dataclass(frozen=True)
class Finetune:
    """A classifier and its encoder, trained together, batch norm in train mode.

    fraction: share of the labels.
    lr, lr_encoder: of the head and of the encoder.
    milestones: as for `Linear`; warmup_epochs: linear, step by step; then, without milestones, a cosine, step by step,
    down to lr_last.
    head: "linear", or "mlp": c-512-256-n, batch norm, dropout 0.2 and ReLU after each hidden layer (attributes).
    head_init: "torch", nn.Linear's own; "normal", N(0, 0.01) and no bias.
    bn_images: batch norm's statistics are over so many images, as on one of the published run's GPUs.
    views: "crop", random resized crops and flips; "face", the whole image, moved, turned, coloured and erased.
    balanced: classes are drawn equally often.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    lr_encoder: float
    batch_size: int
    epochs: int
    weight_decay: float
    milestones: tuple[float, ...] = ()
    warmup_epochs: int = 0
    lr_last: float = 0.0
    momentum: float = 0.9
    evaluate_every: int = 5
    fraction: float = 1.0
    head: Literal["linear", "mlp"] = "linear"
    head_init: Literal["torch", "normal"] = "torch"
    bn_images: int | None = None
    views: Literal["crop", "face"] = "crop"
    erase: bool = False
    balanced: bool = False
    multilabel: bool = False
