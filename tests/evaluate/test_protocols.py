"""Protocols keep their names only while their numbers are theirs."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from lewel.errors import UserError
from lewel.evaluate import training
from lewel.evaluate.changes import Changes, at_size, get_protocol
from lewel.evaluate.protocols import PROTOCOLS
from lewel.evaluate.tasks import Finetune, Linear


def test_the_published_numbers():
    byol = PROTOCOLS["linear-byol"].task
    assert isinstance(byol, Linear)
    assert (byol.optimizer, byol.lr, byol.batch_size, byol.epochs, byol.milestones) == ("sgd", 0.4, 256, 50, (30, 40))
    moco = PROTOCOLS["linear-moco"].task
    assert isinstance(moco, Linear)
    assert (moco.optimizer, moco.lr, moco.batch_size, moco.epochs, moco.milestones) == ("lars", 3.2, 4096, 90, ())
    rates = {}
    for name in ("semi-1", "semi-10"):
        semi = PROTOCOLS[name].task
        assert isinstance(semi, Finetune)
        rates[name] = (semi.lr_encoder, semi.lr, semi.fraction)
        assert (semi.weight_decay, semi.bn_images, semi.head_init) == (1e-4, 64, "torch")
    assert rates == {"semi-1": (1e-4, 1.0, 0.01), "semi-10": (0.01, 0.1, 0.1)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_unchanged_numbers_keep_the_name_and_the_digest(name):
    changes = Changes(fraction=0.1) if name == "semi" else Changes()
    protocol = get_protocol(name, changes)
    assert protocol.changes == (("fraction=0.1",) if name == "semi" else ())
    if name != "semi":
        assert protocol.facts() == PROTOCOLS[name].facts()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (Changes(epochs=5), "linear-byol[epochs=5]"),
        (Changes(lr=0.4, epochs=50), "linear-byol"),
        (Changes(batch_size=64), "linear-byol[batch_size=64,lr=0.1]"),
        (Changes(batch_size=64, lr=0.4), "linear-byol[batch_size=64,lr=0.4]"),
        (Changes(precision="bf16"), "linear-byol[precision=bf16]"),
        (Changes(lr=0.1, weight_decay=1e-4), "linear-byol[lr=0.1,weight_decay=0.0001]"),
    ],
)
def test_changed_numbers_change_the_name_and_the_digest(changes, name):
    protocol = get_protocol("linear-byol", changes)
    assert protocol.name == name
    assert (protocol.facts()["digest"] == PROTOCOLS["linear-byol"].facts()["digest"]) == (name == "linear-byol")


def test_every_number_is_in_the_digest():
    task = PROTOCOLS["semi-10"].task
    other = {int: lambda v: v + 1, float: lambda v: v + 0.5, str: lambda v: v + "x", bool: lambda v: not v}
    seen = {PROTOCOLS["semi-10"].facts()["digest"]}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        changed = other[type(value)](value) if type(value) in other else (9,)
        replaced = dataclasses.replace(task)
        object.__setattr__(replaced, field.name, changed)
        seen.add(dataclasses.replace(PROTOCOLS["semi-10"], task=replaced).facts()["digest"])
    assert len(seen) == 1 + len(dataclasses.fields(task))


def test_milestones_and_rates_follow():
    task = get_protocol("semi-10", Changes(epochs=10, batch_size=64)).task
    assert isinstance(task, Finetune)
    assert (task.milestones, task.lr, task.lr_encoder) == ((6, 8), 0.025, 0.0025)
    assert get_protocol("semi-10", Changes(batch_size=64)).name == "semi-10[batch_size=64,lr=0.025,lr_encoder=0.0025]"
    given = get_protocol("semi-10", Changes(batch_size=64, lr=0.1)).task
    assert isinstance(given, Finetune)
    assert (given.lr, given.lr_encoder) == (0.1, 0.0025)
    faces = get_protocol("faces-expression", Changes(epochs=20)).task
    assert isinstance(faces, Finetune)
    assert faces.warmup_epochs == 1


def test_the_last_rate_follows_the_first():
    task = get_protocol("faces-expression", Changes(batch_size=64)).task
    assert isinstance(task, Finetune)
    assert (task.lr, task.lr_encoder, task.lr_last) == pytest.approx((5e-5, 5e-5, 2.5e-7))
    assert get_protocol("faces-expression", Changes(batch_size=64)).name.endswith(
        "[batch_size=64,lr=5e-05,lr_encoder=5e-05]"
    )
    assert get_protocol("linear-moco", Changes(batch_size=1024)).name == "linear-moco[batch_size=1024,lr=0.8]"


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_the_two_falls_stay_apart_however_short_the_training(epochs):
    """At three and four fifths of it, in steps."""
    task = get_protocol("linear-byol", Changes(epochs=epochs)).task
    assert isinstance(task, Linear)
    rate = training.schedule(task, 10)
    rates = [rate(step) for step in range(10 * epochs)]
    assert [rates.count(value) for value in dict.fromkeys(rates)] == [6 * epochs, 2 * epochs, 2 * epochs]


def test_the_size_is_asked_for_or_the_weights_or_the_protocols():
    linear = PROTOCOLS["linear-byol"]
    assert (at_size(linear, None, None).image_size, at_size(linear, None, None).name) == (224, "linear-byol")
    assert at_size(linear, None, 64).name == "linear-byol[image_size=64]"
    assert at_size(linear, 224, 64).name == "linear-byol"
    assert at_size(PROTOCOLS["knn-k20-t0.07"], None, 64).name == "knn-k20-t0.07"
    assert at_size(PROTOCOLS["knn-k20-t0.07"], 32, 64).name == "knn-k20-t0.07[image_size=32]"


def test_semi_is_named_after_its_share():
    for share in (0.01, 0.05, 0.1, 1.0):
        assert get_protocol("semi", Changes(fraction=share)).name == f"semi[fraction={share:g}]"
    assert get_protocol("semi", Changes(fraction=0.1)).facts()["digest"] != PROTOCOLS["semi-10"].facts()["digest"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("linear-boyl", Changes(), "no task 'linear-boyl'; did you mean linear-byol"),
        ("linear-byol", Changes(k=5), "--k 5: linear-byol has no such number"),
        ("knn-k20-t0.07", Changes(lr_encoder=1.0), "--lr-encoder 1.0: knn-k20-t0.07 has no such number"),
        ("linear-byol", Changes(epochs=0), "--epochs 0: must be more than 0"),
        ("semi-1", Changes(fraction=0.1), "--fraction 0.1: semi-1 says its share itself"),
        (
            "linear",
            Changes(),
            "no task 'linear'; did you mean linear-fast, linear-byol, linear-moco, linear-simsiam or ",
        ),
        (
            "knn",
            Changes(),
            "no task 'knn'; did you mean knn-k20-t0.07 or knn-k200-t0.07? `lewel evaluate --list` lists",
        ),
        ("xyzzy", Changes(), "no task 'xyzzy'; `lewel evaluate --list` lists all"),
        ("linear-byol", Changes(lr=math.inf), "--lr inf: must be more than 0, and finite"),
        ("linear-byol", Changes(lr=math.nan), "--lr nan: must be more than 0, and finite"),
        ("linear-byol", Changes(weight_decay=math.inf), "--weight-decay inf: must be 0 or more, and finite"),
        ("semi", Changes(), "semi needs --fraction, the share of the labels"),
        ("semi", Changes(fraction=1.5), "--fraction 1.5: must be at most 1"),
    ],
)
def test_what_does_not_fit_is_said(name, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        get_protocol(name, changes)
