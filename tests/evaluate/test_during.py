"""What a run measures of its own encoder: by which names, on what, and that looking changes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from lewel import config
from lewel.data.cifar import Pixels
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate import during, linear_fast
from lewel.model.encoder import Encoder

CPU = Precision(torch.device("cpu"), "fp32")
DATA = config.Data(32, (config.View(), config.View()))


def pictures(n: int, classes: list[str], seed: int) -> Pixels:
    """Class c is a plane of grey level 60 * c with noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    pixels = 60 * labels[:, None, None, None] + random.integers(0, 20, (n, 32, 32, 3))
    return Pixels(f"seed {seed}", pixels.astype(np.uint8), labels, classes)


def test_looking_leaves_the_encoder_alone() -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet", "imagenet").train()
    encoder.backbone.layer1.eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    random = torch.get_rng_state()
    keys, queries = pictures(64, ["a", "b", "c"], 0), pictures(30, ["a", "b", "c"], 1)
    found = during.measure(during.TITLES, encoder, keys, queries, DATA, CPU)
    assert [measured.name for measured in found] == list(during.TITLES)
    assert min(measured.top1 for measured in found) > 90
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert modes == [module.training for module in encoder.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert not any(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("name", during.TITLES)
def test_classes_are_matched_by_name(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet", "imagenet")
    queries = pictures(30, ["b", "c"], 1)  # its class 0 is b: level 0, which the keys call a
    shifted = Pixels("shifted", queries.pixels + 60, queries.labels, queries.classes)
    (measured,) = during.measure([name], encoder, pictures(64, ["a", "b", "c"], 0), shifted, DATA, CPU)
    assert measured.top1 > 90


def test_a_class_without_keys_is_an_error() -> None:
    keys, queries = pictures(9, ["a", "b", "c"], 0), pictures(9, ["a", "d"], 1)
    with pytest.raises(UserError, match="d; both parts"):
        during.measure(["knn"], Encoder("test_resnet"), keys, queries, DATA, CPU)


@pytest.mark.parametrize(("work", "expected"), [(45, 45), (1, 20), (10_000, 90)])
def test_linear_fast_takes_as_many_keys_as_its_work_allows(work, expected, monkeypatch) -> None:
    """Of 90, 20 at least, from all over their order."""
    monkeypatch.setattr(during, "LINEAR_KEYS", 20)
    monkeypatch.setattr(during, "LINEAR_WORK", work * 3 * Encoder("test_resnet").map_shape(64)[0])
    taken = []

    def fit(rows, labels, classes):
        taken.append(labels)
        return fitted(rows, labels, classes, decays=(1.0,))

    fitted = linear_fast.fit
    monkeypatch.setattr(linear_fast, "fit", fit)
    keys, queries = pictures(90, ["a", "b", "c"], 0), pictures(30, ["a", "b", "c"], 1)
    (measured,) = during.measure(["linear-fast"], Encoder("test_resnet"), keys, queries, DATA, CPU)
    assert f"{expected} keys of train, 30 queries of val" in measured.how
    assert len(taken[0]) == expected and set(taken[0].tolist()) == {0, 1, 2}


def test_what_is_asked() -> None:
    assert during.asked(None) == ("knn",)
    assert during.asked("none") == ()
    assert during.asked("linear-fast, knn,knn") == ("linear-fast", "knn")
    for text, said in (("liner-fast", "; did you mean linear-fast?"), ("knn,none", ""), ("", "")):
        allowed = "allowed are knn, linear-fast, several with commas between, or none alone"
        with pytest.raises(UserError, match=re.escape(f"--evaluate {text}: {allowed}{said}") + "$"):
            during.asked(text)
