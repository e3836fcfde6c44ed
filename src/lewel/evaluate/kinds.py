"""The kinds of tasks: how each measures, how its data are opened, what it asks of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console

from lewel.config import Evaluation
from lewel.evaluate import finetune, knn, linear, linear_fast
from lewel.evaluate.by_seed import open_labelled
from lewel.evaluate.dense.detection import task as detection
from lewel.evaluate.dense.landmarks import task as landmarks
from lewel.evaluate.dense.opening import open_masks, open_objects, open_points
from lewel.evaluate.dense.segmentation import task as segmentation
from lewel.evaluate.dense.tasks import Detection, Landmarks, Segmentation
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
    ranked: the number by which --lr-search chooses, and whether more of it is better; None: the task has no search.
    """

    evaluate: Task
    open: Callable[[Evaluation, Protocol, Console], dict[int, Divided[Any]]]
    needs_map: bool = False
    fits: Callable[[Encoder, Protocol], object] = lambda encoder, protocol: None
    ranked: tuple[str, bool] | None = None


KINDS: dict[type, Kind] = {
    Knn: Kind(knn.evaluate, open_labelled),
    LinearFast: Kind(linear_fast.evaluate, open_labelled),
    Linear: Kind(linear.evaluate, open_labelled),
    Finetune: Kind(finetune.evaluate, open_labelled, needs_map=True),
    Detection: Kind(detection.evaluate, open_objects, needs_map=True, fits=detection.fits, ranked=("AP", True)),
    Segmentation: Kind(
        segmentation.evaluate, open_masks, needs_map=True, fits=segmentation.fits, ranked=("mIoU", True)
    ),
    Landmarks: Kind(landmarks.evaluate, open_points, needs_map=True, ranked=("NME", False)),
}
