"""The dense protocols' numbers, written out as their sources have them: detectron2's, mmsegmentation's and ours."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from lewel.errors import UserError
from lewel.evaluate.changes import Changes, get_protocol
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.protocols import PROTOCOLS

DETECTION = {
    "optimizer": "sgd",
    "lr": 0.02,
    "batch_size": 16,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "decay_norms": False,  # detectron2's WEIGHT_DECAY_NORM is 0
    "warmup_factor": 0.001,
    "norm": "batch",
    "precise_bn": 200,
    "regions": 512,
    "proposals": 1000,
}
COCO = DETECTION | {"data": "coco", "masks": True, "warmup": 1000}
ONCE = {"iterations": 90_000, "milestones": (60_000, 80_000)}
TWICE = {"iterations": 180_000, "milestones": (120_000, 160_000)}
SEGMENTATION = {
    "optimizer": "sgd",
    "batch_size": 16,
    "momentum": 0.9,
    "decay_norms": True,
    "warmup": 0,
    "norm": "batch",
    "scales": (0.5, 2.0),
}

NUMBERS: dict[str, dict[str, Any]] = {
    "detect-voc-c4": DETECTION
    | {"data": "voc", "model": "c4", "masks": False, "extra_norm": True, "warmup": 100}
    | {"iterations": 24_000, "milestones": (18_000, 22_000)},
    "detect-coco-c4": COCO | ONCE | {"model": "c4", "extra_norm": True},
    "detect-coco-fpn": COCO | ONCE | {"model": "fpn", "extra_norm": False},
    "detect-coco-fpn-2x": COCO | TWICE | {"model": "fpn", "extra_norm": False},
    "segment-voc": SEGMENTATION
    | {"model": "fcn8", "lr": 0.01, "weight_decay": 5e-4, "iterations": 20_000, "milestones": ()}
    | {"power": 0.9, "lr_last": 1e-4, "most_of_one": 0.75, "photometric": True, "align_corners": False},
    "segment-voc-fcn16": SEGMENTATION
    | {"model": "fcn16", "lr": 0.003, "weight_decay": 1e-4, "iterations": 30_000, "milestones": (21_000, 27_000)}
    | {"most_of_one": 1.0, "photometric": False, "align_corners": True},
    "landmarks": {"optimizer": "adam", "lr": 1e-3, "batch_size": 32, "iterations": 12_000, "weight_decay": 0.0}
    | {"milestones": (8_000, 10_500), "threshold": 0.05, "flip": 0.5, "rotation": 18.0, "scale": 0.1, "shift": 0.05}
    | {"gray": 0.2, "gamma": 0.2, "blur": 0.3, "occlusion": 0.4, "precise_bn": 50},
}
SIZES = {"segment-voc": 512, "segment-voc-fcn16": 513, "landmarks": 256}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_the_sources(name: str) -> None:
    protocol, expected = PROTOCOLS[name], NUMBERS[name]
    found = asdict(protocol.task)
    assert {key: found[key] for key in expected} == expected
    assert protocol.image_size == SIZES.get(name, 800)


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_hides_what_a_protocol_is(name: str) -> None:
    """In results.json numbers stand beside the protocol's own name and source."""
    facts = PROTOCOLS[name].facts()
    assert (facts["name"], facts["base"], facts["source"]) == (name, name, PROTOCOLS[name].source)


DIGESTS = {
    "segment-voc": "184baf6e2ef76c6d4719170139785c4ef406ee698298d5a8af80b390b70aed4a",
    "segment-voc-fcn16": "d0cd386d38368a8963e4090babd6850080690880524ea8329e0aba9c0c1ee873",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_a_number_that_came_later_changes_no_digest_at_its_default(name: str) -> None:
    """Results from before go on; with another value they are of another protocol, and are called so."""
    assert PROTOCOLS[name].facts()["digest"] == get_protocol(name, Changes(dilated_convs="all")).facts()["digest"]
    assert PROTOCOLS[name].facts()["digest"] == DIGESTS[name]
    changed = get_protocol(name, Changes(dilated_convs="first"))
    assert changed.facts()["digest"] != DIGESTS[name] and changed.name == f"{name}[dilated_convs=first]"
    assert changed.facts()["dilated_convs"] == "first"
    with pytest.raises(UserError, match="--dilated-convs first: landmarks has no such number; leave it out"):
        get_protocol("landmarks", Changes(dilated_convs="first"))


@pytest.mark.parametrize(("data", "least"), [("voc", 480), ("coco", 640)])
def test_shorter_sides_of_training(data: str, least: int) -> None:
    """At 800 pixels, every 32; the longer side at most 1333."""
    tasks = [each.task for each in PROTOCOLS.values() if isinstance(each.task, Detection) and each.task.data == data]
    assert tasks
    for task in tasks:
        assert [share * 800 for share in task.shortest] == pytest.approx(list(range(least, 801, 32)))
        assert round(task.longest * 800) == 1333


@pytest.mark.parametrize("name", ["segment-voc", "segment-voc-fcn16"])
def test_images_of_segmentation_fit_into_2048_by_512(name: str) -> None:
    assert asdict(PROTOCOLS[name].task)["frame"] == (2048 / 512, 512 / 512)
