"""Remarks: what makes numbers other than they look is said, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lewel.evaluate.remarks import remarks
from lewel.evaluate.results import Result, Run
from lewel.evaluate.tasks import Finetune, Linear
from lewel.evaluate.training import facts

DATA = {"train": {"images": 80, "digest": "t"}, "val": {"images": 16, "digest": "v"}}
SEMI = Finetune("sgd", 0.1, 0.01, 256, 50, 1e-4, bn_images=64)


def result(label: str = "mine", size: int = 64, task: Any = None, images: int = 80, **more: Any) -> Result:
    training = facts(task, images) if task else {}
    numbers = {"batch_size": task.batch_size, "bn_images": getattr(task, "bn_images", None)} if task else {}
    run = Run(0, "w", DATA, {"top1": 1.0}, 1.0, "fp32", "cpu", [], {}, 16, training)
    protocol = {"name": "p", "image_size": size, "digest": f"p{size}", **numbers}
    return Result(label, protocol, {"digest": "w"}, {"top1": 1.0}, {}, (replace(run, **more),))


def test_nothing_is_said_of_what_is_as_it_looks() -> None:
    assert remarks([result(), result("other")]) == []
    assert remarks([result(task=Linear("lars", 3.2, 80, 90)), result(task=SEMI, images=256)]) == []


def test_rows_of_different_sizes() -> None:
    told = remarks([result("a", 64), result("b", 224), result("c", 64)])
    assert told == ["The rows are of different sizes of image, 64 and 224 px: their numbers cannot be compared."]


def test_a_batch_that_is_more_than_the_images() -> None:
    task = Linear("lars", 3.2, 4096, 90)
    assert facts(task, 80) == {"images": 80, "batch_size": 80, "steps_per_epoch": 1}
    assert remarks([result("a", task=task), result("b", task=task)]) == [
        "a, b: batch 4,096 is more than the 80 images: 1 step an epoch."
    ]


def test_batch_norm_over_other_images_than_published() -> None:
    assert facts(SEMI, 1000) == {"images": 1000, "batch_size": 256, "steps_per_epoch": 4, "bn_images": 64}
    assert remarks([result(task=SEMI)])[1:] == [
        "mine: batch norm's statistics are over 20 images, not 64 as published."
    ]
    for batch in (100, 32):
        told = remarks([result(task=replace(SEMI, batch_size=batch), images=1000)])
        assert told == [f"mine: batch norm's statistics are over {batch} images, not 64 as published."]


def test_images_that_could_not_be_read() -> None:
    skipped = [{"path": str(number), "reason": "empty"} for number in range(5)]
    assert remarks([result(skipped=skipped, measured=13)]) == [
        "mine: 3 of 16 images of val left out: they could not be read.",
        "mine: 2 images of train left out: they could not be read.",
    ]
    (told,) = remarks([result(task=Linear("lars", 3.2, 80, 90), skipped=skipped[:2])])
    assert told == "mine: 2 images of train replaced by others: they could not be read."


def test_rates_that_were_searched_can_be_compared() -> None:
    def searched(label: str, rate: float, **more: Any) -> Result:
        search = {"chosen": rate, "by": "AP", "held_out": 0.2, "diverged": ["0.04"]}
        search["tried"] = {"0.01": 1.5, "0.02": None, "0.04": None}
        found = result(label, images=80, training={"images": 80, "batch_size": 80, "lr_search": search})
        numbers = {"batch_size": 80, "lr": rate, "lr_last": rate / 100, "name": f"p[lr={rate:g}]", "digest": f"p{rate}"}
        return replace(found, protocol={**found.protocol, **numbers, **more})

    told = remarks([searched("a", 0.01), searched("b", 0.02)])
    assert told == [
        f"{label}: rate {rate}, by AP on 20% of train, held out: 0.01: 1.50, 0.02: none, 0.04: diverged."
        for label, rate in (("a", "0.01"), ("b", "0.02"))
    ]
    other = remarks([searched("a", 0.01), searched("b", 0.02, iterations=7)])
    assert other[0] == "The rows are of different protocols: their numbers cannot be compared."
