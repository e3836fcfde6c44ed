"""Detection: encoder and detector trained together, measured as VOC's and COCO's own tools measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from lewel.evaluate import training
from lewel.evaluate.dense import fitting, gallery
from lewel.evaluate.dense.backbone import resnet
from lewel.evaluate.dense.detection import coco_ap, voc_ap
from lewel.evaluate.dense.detection.cases import cases
from lewel.evaluate.dense.detection.detector import Detector
from lewel.evaluate.dense.detection.found import Found, found
from lewel.evaluate.dense.detection.model import build
from lewel.evaluate.dense.detection.source import Photographs
from lewel.evaluate.dense.detection.views import TestView, TrainView
from lewel.evaluate.dense.loading import Testing, Training
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.job import Job, Values
from lewel.evaluate.protocols import Protocol
from lewel.model.encoder import Encoder

PUBLISHED = 800  # pixels: the image size that anchors are for


def evaluate(job: Job[Annotations]) -> Values:
    """AP of boxes, and of masks where the task has them, after the last step."""
    task, train, val = job.protocol.task_as(Detection), job.data.train, job.data.val
    torch.manual_seed(job.seed)
    module = detector(job)
    images = Photographs(train)
    views = Training(images, TrainView.of(task, job.image_size), task.batch_size, job.seed)
    measured = dict[str, Any]()  # last; nothing where a job that had ended begins again

    def measure() -> fitting.Measured:
        each, seen = detected(job, module)
        measured.update(numbers(task, val.subset(seen), each))
        return {name: value for name, value in measured.items() if isinstance(value, float)}, as_arrays(each, seen)

    _, arrays = training.run(job, fitting.fit(job, module, views, measure, "AP", images.kinds))
    seen, each = val.subset(arrays["images"]), from_arrays(arrays, task.masks)
    gallery.write(job.directory, cases(seen, each, gallery.WORST))
    yield from (measured or numbers(task, seen, each)).items()


def fits(encoder: Encoder, protocol: Protocol) -> None:
    """Raises UserError for an encoder that is no ResNet."""
    resnet(encoder)


def detector(job: Job[Annotations]) -> Detector:
    """On a copy of the encoder."""
    assert job.subject.encoder is not None
    encoder = deepcopy(job.subject.encoder)
    return build(encoder, job.protocol.task_as(Detection), len(job.data.train.classes), job.image_size / PUBLISHED)


def detected(job: Job[Annotations], module: Detector) -> tuple[list[Found], np.ndarray]:
    """Of the images of val that can be read, in the pixels of their files; and which they are."""
    task, val = job.protocol.task_as(Detection), job.data.val
    everything, seen = list[Found](), list[int]()
    views = Testing(Photographs(val), TestView.of(task, job.image_size))
    for batch, predictions in fitting.predicted(job, module, views):
        for index, size, each in zip(batch.indices.tolist(), batch.sizes.tolist(), predictions, strict=True):
            width, height = val.images.sizes[index].tolist()
            everything.append(found(each, (size[1], size[0]), (width, height)))
            seen.append(index)
    return everything, np.array(seen, np.int64)


def numbers(task: Detection, val: Annotations, each: Sequence[Found]) -> dict[str, Any]:
    """Per cent. VOC's own are first for VOC, COCO's for COCO; per class: AP."""
    boxes = coco_ap.precision(val, each, "boxes").values(val.classes)
    if task.data == "voc":
        own = voc_ap.precision(val, each).values(val.classes)
        return own | {"coco": {name: value for name, value in boxes.items() if name != "per_class_AP"}}
    headline = {name: boxes.pop(name) for name in ("AP", "AP50", "AP75")}
    if not task.masks:
        return headline | {"per_class_AP": boxes.pop("per_class_AP"), "boxes": boxes}
    masks = coco_ap.precision(val, each, "masks").values(val.classes)
    headline |= {f"{name}_mask": masks.pop(name) for name in ("AP", "AP50", "AP75")}
    return headline | {"per_class_AP": boxes.pop("per_class_AP"), "boxes": boxes, "masks": masks}


def as_arrays(each: Sequence[Found], seen: np.ndarray) -> dict[str, np.ndarray]:
    """For predictions.npz: all detections together, image after image. seen: which images of val they are in."""
    arrays = {
        "images": seen,
        "detections": np.array([len(found.scores) for found in each], np.int64),
        "boxes": np.concatenate([found.boxes for found in each]),
        "scores": np.concatenate([found.scores for found in each]),
        "labels": np.concatenate([found.labels for found in each]),
    }
    counts = [mask["counts"] for found in each for mask in found.masks or ()]
    sizes = [mask["size"] for found in each for mask in found.masks or ()]
    if any(found.masks is not None for found in each):
        arrays["mask_counts"] = np.frombuffer(b"".join(counts), np.uint8)
        arrays["mask_lengths"] = np.array([len(text) for text in counts], np.int64)
        arrays["mask_sizes"] = np.array(sizes, np.int64).reshape(-1, 2)
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray], masks: bool) -> list[Found]:
    """What `as_arrays` was given."""
    ends = np.cumsum(arrays["detections"])
    parts = [np.split(arrays[name], ends[:-1]) for name in ("boxes", "scores", "labels")]
    if not masks:
        return [Found(*each) for each in zip(*parts, strict=True)]
    text, at = arrays["mask_counts"].tobytes(), np.cumsum(arrays["mask_lengths"])
    runs = [
        {"size": size.tolist(), "counts": text[end - length : end]}
        for size, length, end in zip(arrays["mask_sizes"], arrays["mask_lengths"], at, strict=True)
    ]
    of_images = [tuple(runs[start:end]) for start, end in pairwise([0, *ends.tolist()])]
    return [Found(*each) for each in zip(*parts, of_images, strict=True)]
