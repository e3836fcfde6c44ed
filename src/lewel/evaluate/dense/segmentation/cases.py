"""The images whose own mIoU is the lowest, with what was predicted there."""

from __future__ import annotations

import numpy as np
import torch

from lewel.evaluate.dense import drawing
from lewel.evaluate.dense.gallery import Case
from lewel.evaluate.dense.segmentation import miou
from lewel.evaluate.dense.segmentation.measuring import predicted
from lewel.evaluate.dense.segmentation.model import FCN
from lewel.evaluate.dense.truth.masks import Segmented
from lewel.evaluate.job import Job


def cases(job: Job[Segmented], module: FCN, arrays: dict[str, np.ndarray], worst: int) -> list[Case]:
    """So many of them, the worst first; fewer where there are no more. arrays: of `measure`.

    They are predicted again: maps of all images would be large. Images of which no pixel is counted are left out.
    """
    scores = miou.iou(torch.from_numpy(arrays["confusion"])).nanmean(dim=1).numpy()
    order = [place for place in np.argsort(scores, kind="stable").tolist() if np.isfinite(scores[place])][:worst]
    shown, found = job.data.val.subset(arrays["images"][order]), list[Case]()
    for index, truth, classes in predicted(job, module, shown):
        image, score = shown.image(index), f"mIoU {scores[order[index]]:.1f}"
        right, guessed = (drawing.pixels(image, each.numpy()) for each in (truth, classes))
        legend = drawing.legend(shown.classes, truth.numpy(), classes.numpy())
        found.append(Case(shown.names[index], score, right, guessed, legend))
    return found
