"""The kinds of tasks: how each measures, how its data are opened, what it asks of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lewel.config import Evaluation
from lewel.console import Console
from lewel.evaluate import classification, finetune, knn, linear, linear_fast
from lewel.evaluate.by_seed import open_labelled
from lewel.evaluate.dense.detection import task as detection
from lewel.evaluate.dense.landmarks import task as landmarks
from lewel.evaluate.dense.opening import open_masks, open_objects, open_points
from lewel.evaluate.dense.segmentation import task as segmentation
from lewel.evaluate.dense.tasks import Detection, Landmarks, Segmentation
from lewel.evaluate.intervals import PerImage
from lewel.evaluate.job import Task
from lewel.evaluate.parts import Divided
from lewel.evaluate.protocols import Protocol
from lewel.evaluate.tasks import Finetune, Knn, Linear, LinearFast
from lewel.model.encoder import Encoder


class Kind(NamedTuple):
    """What the driver must know of a task.

    open: the data, by seed; raises UserError for data or flags that the task cannot take.
    needs_map: whether it takes CNNs only, whose encoder it trains.
    fits: raises UserError for an encoder that the task cannot take apart.
    per_image: from predictions.npz, what the metrics have of each image, for their intervals; empty: AP ranks the
        detections of all images together, so it is no sum over images.
    ranked: the number by which --lr-search chooses, and whether more of it is better; None: the task has no search.
    """

    evaluate: Task
    open: Callable[[Evaluation, Protocol, Console], dict[int, Divided[Any]]]
    needs_map: bool = False
    fits: Callable[[Encoder, Protocol], object] = lambda encoder, protocol: None
    per_image: Callable[[Mapping[str, np.ndarray], Protocol], Mapping[str, PerImage]] = lambda arrays, protocol: {}
    ranked: tuple[str, bool] | None = None


KINDS: dict[type, Kind] = {
    Knn: Kind(knn.evaluate, open_labelled, per_image=classification.per_image),
    LinearFast: Kind(linear_fast.evaluate, open_labelled, per_image=classification.per_image),
    Linear: Kind(linear.evaluate, open_labelled, per_image=classification.per_image),
    Finetune: Kind(finetune.evaluate, open_labelled, needs_map=True, per_image=finetune.per_image),
    Detection: Kind(detection.evaluate, open_objects, needs_map=True, fits=detection.fits, ranked=("AP", True)),
    Segmentation: Kind(
        segmentation.evaluate,
        open_masks,
        needs_map=True,
        fits=segmentation.fits,
        per_image=segmentation.per_image,
        ranked=("mIoU", True),
    ),
    Landmarks: Kind(
        landmarks.evaluate, open_points, needs_map=True, per_image=landmarks.per_image, ranked=("NME", False)
    ),
}
