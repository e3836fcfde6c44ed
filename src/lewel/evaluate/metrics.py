"""How right predictions are: top-k, per class, confusion, and the mean over attributes. All in per cent.

A score that is not a number is a mistake, never a hit. What has no images is nan, and left out of means.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def top_k(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], k: int = 1) -> float:
    """The share of rows whose class is among the k with the largest scores. With k classes or fewer it is 100.

    Of equal scores the lower class comes first, as in `argmax`; scikit-learn's `top_k_accuracy_score` takes the higher.
    """
    return _mean(true_rank(logits, labels) < k)


def true_rank(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The place of each row's own class when its classes are sorted by score: 0 is the best.

    An own score of -inf, of a class that was never in question, or of nan is behind all: as many as there are classes.
    """
    own = logits.gather(1, labels[:, None])
    ahead = (logits <= own).logical_not_()  # not `>`: a nan, on either side, stands ahead
    lower = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ahead |= lower.logical_and_(logits == own)
    ahead |= own == -torch.inf
    return ahead.count_nonzero(dim=1)


def accuracy(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> float:
    """The share of rows whose class is the predicted one."""
    return _mean(predicted == labels)


def confusion(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int) -> Int[Tensor, "classes classes"]:
    """How often class i, the row, was taken for class j, the column."""
    return (labels * classes + predicted).bincount(minlength=classes * classes).view(classes, classes)


def per_class(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int) -> Float[Tensor, " classes"]:
    """The accuracy within each class (its recall); nan for a class without images. Its mean: "balanced accuracy"."""
    right, images = (each.bincount(minlength=classes) for each in (labels[predicted == labels], labels))
    return 100 * right.double() / images


def per_attribute(
    logits: Float[Tensor, "n attributes"], truth: Bool[Tensor, "n attributes"]
) -> Float[Tensor, " attributes"]:
    """The accuracy of each yes-or-no attribute at a probability of 0.5: yes is a logit above 0, no one of 0 or less."""
    right = (truth & (logits > 0)) | (~truth & (logits <= 0))
    return 100 * right.double().mean(dim=0)


def mean_attributes(logits: Float[Tensor, "n attributes"], truth: Bool[Tensor, "n attributes"]) -> float:
    """The mean of `per_attribute`, the number that CelebA's tables have."""
    return per_attribute(logits, truth).mean().item()


def _mean(right: Bool[Tensor, " n"]) -> float:
    return 100 * right.double().mean().item()
