"""A trained network on the faces of val: its points in each image's own pixels, its errors, and the worst cases."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from lewel import config
from lewel.data.loader import EvaluationOrder
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate.dense.landmarks import metrics
from lewel.evaluate.dense.landmarks.geometry import moved, square
from lewel.evaluate.dense.landmarks.model import Regressor
from lewel.evaluate.dense.landmarks.views import PlainView
from lewel.evaluate.dense.loading import Testing, batches
from lewel.evaluate.dense.tasks import Landmarks
from lewel.evaluate.dense.truth.points import FULL, Landmarked
from lewel.shapes import Skip

TEST_BATCH = 64

Arrays = dict[str, np.ndarray]


class Case(NamedTuple):
    """A face of val, its error in per cent, and its points in the image's pixels."""

    image: int
    error: float
    truth: Float64[np.ndarray, "k 2"]
    predicted: Float64[np.ndarray, "k 2"]


def measure(
    module: Regressor,
    val: Landmarked,
    task: Landmarks,
    data: config.Data,
    precision: Precision,
    workers: int,
    skipped: list[Skip],
) -> tuple[dict[str, Any], Arrays]:
    """NME, failure_rate and AUC, and NME by subset; `images`, `predicted` (n, k, 2) in their pixels, and `errors`.

    Afterwards the module is in train mode. Images that cannot be read are left out and added to `skipped`.
    Raises UserError where none can be read.
    """
    found, seen = list[Tensor](), list[Tensor]()
    views = Testing(val, PlainView(task, data.image_size))
    module.eval()
    for batch in batches(views, EvaluationOrder(len(val), TEST_BATCH), workers, data, precision.device):
        skipped.extend(skip for skip in batch.skipped if skip not in skipped)
        if len(batch.indices):
            with precision.autocast():
                found.append(module.predict(batch.pixels, batch.sizes).cpu())
            seen.append(batch.indices)
    module.train()
    if not seen:
        raise UserError("none of the images of val can be read; give others in --data")
    images, points = torch.cat(seen).numpy(), torch.cat(found).double().numpy()
    squares = (square(val.points[image], task.margin, data.image_size) for image in images)
    predicted = np.stack([moved(xy, affine) for xy, affine in zip(points, squares, strict=True)])
    errors = metrics.errors(predicted, val.points[images])
    return numbers(errors, val, images, task.threshold), {"images": images, "predicted": predicted, "errors": errors}


def numbers(errors: Float64[np.ndarray, " n"], val: Landmarked, images: np.ndarray, threshold: float) -> dict[str, Any]:
    """Of all faces; NME of the subsets too, where there are any."""
    found: dict[str, Any] = {
        "NME": metrics.nme(errors),
        "failure_rate": metrics.failure_rate(errors, threshold),
        "AUC": metrics.auc(errors, threshold),
    }
    inside = {name: members[images] for name, members in val.subsets.items() if name != FULL}
    if subsets := {name: metrics.nme(errors[where]) for name, where in inside.items() if where.any()}:
        found["per_subset"] = subsets
    return found


def cases(val: Landmarked, arrays: Arrays, n: int) -> list[Case]:
    """The n worst faces, the worst first; of equal ones the first comes first."""
    errors = arrays["errors"]
    worst = np.argsort(np.where(np.isfinite(errors), -errors, -np.inf), kind="stable")[:n].tolist()
    return [
        Case(image := int(arrays["images"][row]), 100 * float(errors[row]), val.points[image], arrays["predicted"][row])
        for row in worst
    ]
