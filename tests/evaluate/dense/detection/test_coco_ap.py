"""COCO's numbers are pycocotools' own; perfect detections have 100; speed and memory have a limit."""

from __future__ import annotations

import contextlib
import io
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from noisy import CLASSES, found, write
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lewel.evaluate.dense.detection.coco_ap import NAMES, precision
from lewel.evaluate.dense.detection.found import Found, run_lengths
from lewel.evaluate.dense.truth import coco
from lewel.evaluate.dense.truth.annotations import Annotations, Images
from lewel.evaluate.dense.truth.objects import Annotated

KINDS = {"boxes": "bbox", "masks": "segm"}
NONE = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), ())


class WithDifficult(COCOeval):
    """pycocotools takes crowds for all that is to be ignored."""

    def _prepare(self) -> None:
        super()._prepare()
        for each in self.cocoGt.anns.values():
            each["ignore"] = each["iscrowd"] or each.get("difficult", False)


def pycocotools(truth: COCO, guesses: list[dict[str, Any]], of: str) -> tuple[np.ndarray, np.ndarray]:
    """The twelve numbers, and AP by class."""
    left_out = "segmentation" if of == "boxes" else "bbox"  # with both, COCO takes the box for the size of a mask
    rows = [{key: value for key, value in each.items() if key != left_out} for each in guesses]
    with contextlib.redirect_stdout(io.StringIO()):
        counted = WithDifficult(truth, truth.loadRes(rows), KINDS[of])
        counted.evaluate()
        counted.accumulate()
        counted.summarize()
    by_class = counted.eval["precision"][:, :, :, 0, -1]
    return counted.stats, np.array([part[part > -1].mean() if (part > -1).any() else -1 for part in by_class.T])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], Annotations, list[Found]]:
    root, guesses = write(tmp_path_factory.mktemp("noisy") / "coco")
    truth = coco.open_objects(root, "val")
    return root, guesses, truth, [found(guesses, image.name) for image in truth.images]


def api(root: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(root / "annotations/instances_val.json"))


@pytest.mark.parametrize("of", ["boxes", "masks"])
@pytest.mark.parametrize("difficult", [False, True])
def test_numbers_are_pycocotools(
    noisy: tuple, of: Literal["boxes", "masks"], difficult: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    root, guesses, truth, detected = noisy
    theirs = api(root)
    if difficult:
        chosen = {each["id"] for each in theirs.anns.values() if each["id"] % 4 == 0}
        for number in chosen:
            theirs.anns[number]["difficult"] = True
        truth = replace(truth, images=Images.of(_marked(image, theirs, chosen) for image in truth.images))
    expected, by_class = pycocotools(theirs, guesses, of)
    ours = precision(truth, detected, of)
    assert 5 < expected[:6].min() * 100 < expected[:6].max() * 100 < 90  # neither all right nor all wrong
    np.testing.assert_array_max_ulp(ours.numbers, 100 * expected, 2)  # it adds 2e-16 to what it divides by
    np.testing.assert_allclose(ours.per_class, np.where(by_class > -1, 100 * by_class, np.nan), rtol=1e-12)
    assert np.isnan(ours.per_class).tolist() == [False] * (CLASSES - 1) + [True]
    assert capfd.readouterr() == ("", "")


def _marked(image: Annotated, theirs: COCO, chosen: set[int]) -> Annotated:
    entries = theirs.imgToAnns[int(Path(image.name).stem)]
    return replace(image, difficult=np.array([each["id"] in chosen for each in entries], bool))


def test_crowds_and_difficult_objects_change_the_numbers(noisy: tuple) -> None:
    """What the test above compares is there to be compared."""
    _, _, truth, detected = noisy
    plain = [replace(image, crowd=np.zeros(len(image), bool)) for image in truth.images]
    hard = [replace(image, difficult=np.arange(len(image)) % 2 == 0) for image in truth.images]
    numbers = [
        precision(replace(truth, images=Images.of(images)), detected, "boxes").numbers[0] for images in (plain, hard)
    ]
    assert len({precision(truth, detected, "boxes").numbers[0], *numbers}) == 3


@pytest.mark.parametrize("of", ["boxes", "masks"])
def test_perfect_detections_have_100_and_none_have_0(noisy: tuple, of: Literal["boxes", "masks"]) -> None:
    truth = noisy[2]
    exact = [
        Found(
            image.boxes,
            np.ones(len(image)),
            image.labels,
            run_lengths(image.masks()),
        )
        for image in truth.images
    ]
    values = precision(truth, exact, of).values(truth.classes)
    for name in NAMES:
        assert name in ("AR1", "AR10") or values[name] == pytest.approx(100), name
    assert values["per_class_AP"]["class 0"] == pytest.approx(100)
    empty = precision(truth, [NONE] * len(truth), of)
    assert not empty.numbers.any() and np.nansum(empty.per_class) == 0


def test_images_may_all_be_without_objects(noisy: tuple) -> None:
    truth = noisy[2]
    empty = tuple(image for image in truth.images if not len(image))
    assert np.isnan(precision(replace(truth, images=Images.of(empty)), [NONE] * len(empty), "boxes").numbers).all()


def synthetic(images: int, classes: int = 80, most: int = 100, seed: int = 0) -> tuple[Annotations, list[Found]]:
    """About 7 objects an image; of the `most` detections half are near one."""
    rng = np.random.default_rng(seed)
    shown, detected = [], []
    for number in range(images):
        k = int(rng.poisson(7))
        corners, labels = rng.uniform(0, 500, (k, 2)), rng.integers(0, classes, k)
        boxes = np.concatenate([corners, corners + rng.uniform(5, 140, (k, 2))], axis=1)
        none = np.zeros(k, bool)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        shown.append(Annotated(f"{number:06}", Path(), (640, 640), boxes, labels, none, none, areas))
        corners = rng.uniform(0, 500, (most, 2))
        guesses = np.concatenate([corners, corners + rng.uniform(5, 140, (most, 2))], axis=1)
        guessed = rng.integers(0, classes, most)
        if k:
            chosen = rng.integers(0, k, most // 2)
            guesses[: most // 2] = boxes[chosen] + rng.normal(0, 4, (most // 2, 4))
            guessed[: most // 2] = labels[chosen]
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        detected.append(Found(guesses, rng.random(most), guessed))
    names = tuple(f"class {number}" for number in range(classes))
    return Annotations("", "val", names, Images.of(shown), (), 0), detected


@pytest.mark.slow
def test_half_a_million_boxes_in_5000_images() -> None:
    truth, detected = synthetic(5000)
    start = time.monotonic()
    values = precision(truth, detected, "boxes").values(truth.classes)
    seconds, gigabytes = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{seconds:.1f} s, {gigabytes:.2f} GB at most, AP {values['AP']:.2f}")
    assert 1 < values["AP"] < 99 and seconds < 90 and gigabytes < 4
