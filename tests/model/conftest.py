"""The four methods at a size that a test can afford: timm's smallest ResNet at 64 px, 2 x 2 positions, heads of 8."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lewel import config, terms

ENCODER = config.Encoder("test_resnet")
HEAD = terms.MLP(8, hidden=(16,))
COUPLED = terms.Coupled(groups=2)
COSINE = terms.Cosine()
QUEUE = terms.Queue(temperature=0.2, queue=24)
IN_BATCH = terms.InBatch(temperature=0.2)
MOCO = terms.Momentum(0.9, "constant", "before", "batch", shuffle=True)
EMAN = terms.Momentum(0.9, "cosine", "after", "running")


def recipe(parts, target, directions, *, encoder=ENCODER, bn_groups=None, image_size=64) -> config.Recipe:
    method = terms.Method(encoder, tuple(parts), target, directions, bn_groups)
    data = config.Data(image_size, (config.View(), config.View()))
    return config.Recipe("test", method, data, config.Optimizer("sgd", 0.1, 8, 1e-4), epochs=1)


def moco(**kwargs) -> config.Recipe:
    head = replace(HEAD, norm=False, bias="all", init="linear")
    return recipe([terms.Term("global", 1.0, terms.Uniform(), head, None, QUEUE)], MOCO, terms.ONE_WAY, **kwargs)


def lewel_m(beta=0.5, in_batch=IN_BATCH, maps=COUPLED, target=MOCO, **kwargs) -> config.Recipe:
    parts = [
        terms.Term("global", 1 - beta, terms.Uniform(), HEAD, None, QUEUE),
        terms.Term("aligned", beta, maps, HEAD, None, in_batch),
    ]
    return recipe(parts, target, terms.ONE_WAY, **kwargs)


def byol(target=EMAN, **kwargs) -> config.Recipe:
    return recipe([terms.Term("global", 1.0, terms.Uniform(), HEAD, HEAD, COSINE)], target, terms.BOTH_WAYS, **kwargs)


def lewel_b(target=EMAN, maps=COUPLED, **kwargs) -> config.Recipe:
    parts = [
        terms.Term("global", 0.5, terms.Uniform(), HEAD, HEAD, COSINE),
        terms.Term("aligned", 0.5, maps, HEAD, HEAD, COSINE),
    ]
    return recipe(parts, target, terms.BOTH_WAYS, **kwargs)


@pytest.fixture
def recipes() -> SimpleNamespace:
    """Functions that return small recipes, and the parts to make others of."""
    return SimpleNamespace(**{name: value for name, value in globals().items() if not name.startswith("_")})
