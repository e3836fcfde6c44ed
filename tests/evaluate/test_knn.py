"""kNN against a brute-force loop, and that looking changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lewel import config
from lewel.data.cifar import Pixels
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate import knn
from lewel.model.encoder import Encoder, Pooled

CPU = Precision(torch.device("cpu"), "fp32")
DATA = config.Data(32, (config.View(), config.View()))


def brute_force(keys, labels, queries, k, temperature):
    predicted = []
    for query in queries:
        similarity = [
            sum(a * b for a, b in zip(query, key, strict=True)) / math.hypot(*query) / math.hypot(*key) for key in keys
        ]
        nearest = sorted(range(len(keys)), key=lambda i: -similarity[i])[:k]
        votes = {}
        for i in nearest:
            votes[labels[i]] = votes.get(labels[i], 0) + math.exp(similarity[i] / temperature)
        predicted.append(max(sorted(votes), key=votes.__getitem__))
    return predicted


@pytest.mark.parametrize("k", [1, 5, 100])
def test_predict_is_the_brute_force_vote(k):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    queries = torch.randn(25, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (60,), generator=generator)
    expected = brute_force(keys.tolist(), labels.tolist(), queries.tolist(), k, 0.07)
    assert knn.predict(keys, labels, queries, k=k, chunk=7).tolist() == expected


def pictures(n: int, classes: list[str], seed: int) -> Pixels:
    """Class c is a plane of grey level 60 * c with noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    pixels = 60 * labels[:, None, None, None] + random.integers(0, 20, (n, 32, 32, 3))
    return Pixels(f"seed {seed}", pixels.astype(np.uint8), labels, classes)


def test_knn_leaves_the_encoder_alone():
    torch.manual_seed(0)
    encoder = Encoder("resnet10t", "imagenet").train()
    encoder.backbone.layer1.eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    random = torch.get_rng_state()
    top1 = knn.knn_top1(Pooled(encoder), pictures(64, ["a", "b", "c"], 0), pictures(30, ["a", "b", "c"], 1), DATA, CPU)
    assert top1 > 90
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert modes == [module.training for module in encoder.modules()]
    assert torch.equal(random, torch.get_rng_state())


def test_classes_are_matched_by_name():
    torch.manual_seed(0)
    encoder = Encoder("resnet10t", "imagenet")
    queries = pictures(30, ["b", "c"], 1)  # its class 0 is b: level 0, which the keys call a
    shifted = Pixels("shifted", queries.pixels + 60, queries.labels, queries.classes)
    assert knn.knn_top1(Pooled(encoder), pictures(64, ["a", "b", "c"], 0), shifted, DATA, CPU) > 90


def test_a_class_without_keys_is_an_error():
    with pytest.raises(UserError, match="d; both parts"):
        knn.knn_top1(
            Pooled(Encoder("resnet10t")), pictures(9, ["a", "b", "c"], 0), pictures(9, ["a", "d"], 1), DATA, CPU
        )
