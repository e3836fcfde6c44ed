"""What is extracted once, what again, and that two sets of weights are never kept."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import little
import pytest
import torch
from torch import nn

from lewel.data.images import Source
from lewel.evaluate import features
from lewel.evaluate.cache import Extracted, FeatureCache
from lewel.evaluate.tasks import LinearFast


def test_one_set_of_weights_at_a_time() -> None:
    cache, made = FeatureCache(), []

    def get(weights: str, of: str) -> Extracted:
        def extract() -> Extracted:
            made.append((weights, of))
            return Extracted(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), [])

        return cache.get(weights, of, extract)

    first = weakref.ref(get("a", "train").features)
    get("a", "val"), get("a", "train")
    assert made == [("a", "train"), ("a", "val")]
    get("b", "val")
    gc.collect()
    assert first() is None
    get("a", "val")
    assert made[2:] == [("b", "val"), ("a", "val")]


def test_jobs_share_features_of_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same pixels and labels, in whatever objects; not of other pixels, nor at another size."""
    extracted: list[Source] = []
    extract = features.extract

    def watched(network: nn.Module, images: Source, *more: Any) -> Any:
        extracted.append(images)
        return extract(network, images, *more)

    monkeypatch.setattr(features, "extract", watched)
    train, val, again = (little.labelled(little.planes(little.colours(6, seed))) for seed in (0, 1, 0))
    job = little.job(LinearFast(), little.subject(), little.data(train, val), tmp_path)
    rows, images = job.features(train)
    assert job.features(again)[0] is rows and images.tolist() == list(range(6))
    job.features(val)
    assert extracted == [train.images, val.images]
    other = replace(job, protocol=replace(job.protocol, image_size=16))
    other.features(train)
    assert len(extracted) == 3
