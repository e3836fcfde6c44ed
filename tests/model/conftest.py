"""The four methods at a size that a test can afford: timm's smallest ResNet at 64 px, 2 x 2 positions, heads of 8."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lewel import config

ENCODER = config.Encoder("test_resnet")
HEAD = config.Head(hidden=16, out=8)
COUPLED = config.Maps("coupled", groups=2)
COSINE = config.Objective("cosine")
QUEUE = config.Objective("queue", temperature=0.2, queue=24)
IN_BATCH = config.Objective("in_batch", temperature=0.2)
MOCO = config.Target(0.9, "constant", "before", "batch", shuffle=True)
EMAN = config.Target(0.9, "cosine", "after", "running")


def recipe(terms, target, directions, *, encoder=ENCODER, bn_groups=None, image_size=64) -> config.Recipe:
    method = config.Method(encoder, tuple(terms), target, directions, bn_groups)
    data = config.Data(image_size, (config.View(), config.View()))
    return config.Recipe("test", method, data, config.Optimizer("sgd", 0.1, 8, 1e-4), epochs=1)


def moco(**kwargs) -> config.Recipe:
    head = replace(HEAD, norm=False, bias=True, init="linear")
    return recipe([config.Term("global", 1.0, config.Maps(), head, None, QUEUE)], MOCO, "one", **kwargs)


def lewel_m(beta=0.5, in_batch=IN_BATCH, maps=COUPLED, target=MOCO, **kwargs) -> config.Recipe:
    terms = [
        config.Term("global", 1 - beta, config.Maps(), HEAD, None, QUEUE),
        config.Term("aligned", beta, maps, HEAD, None, in_batch),
    ]
    return recipe(terms, target, "one", **kwargs)


def byol(target=EMAN, **kwargs) -> config.Recipe:
    return recipe([config.Term("global", 1.0, config.Maps(), HEAD, HEAD, COSINE)], target, "both", **kwargs)


def lewel_b(target=EMAN, maps=COUPLED, **kwargs) -> config.Recipe:
    terms = [
        config.Term("global", 0.5, config.Maps(), HEAD, HEAD, COSINE),
        config.Term("aligned", 0.5, maps, HEAD, HEAD, COSINE),
    ]
    return recipe(terms, target, "both", **kwargs)


@pytest.fixture
def recipes() -> SimpleNamespace:
    """Functions that return small recipes, and the parts to make others of."""
    return SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")})
