"""What is extracted once, what again, and that two sets of weights are never kept."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import little
import torch

from lewel.data.images import Source
from lewel.evaluate import features
from lewel.evaluate.cache import Extracted, FeatureCache


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


def test_jobs_share_features_of_the_same_images(tmp_path: Path, monkeypatch) -> None:
    """Of the same pixels and labels, in whatever objects; not of other pixels, nor at another size."""
    extracted: list[Source] = []
    extract = features.extract
    monkeypatch.setattr(
        features, "extract", lambda net, images, *more: extracted.append(images) or extract(net, images, *more)
    )
    train, val, again = (little.labelled(little.planes(little.colours(6, seed))) for seed in (0, 1, 0))
    job = little.job(None, little.subject(), little.data(train, val), tmp_path)
    rows, images = job.features(train)
    assert job.features(again)[0] is rows and images.tolist() == list(range(6))
    job.features(val)
    assert extracted == [train.images, val.images]
    other = replace(job, protocol=replace(job.protocol, image_size=16))
    other.features(train)
    assert len(extracted) == 3
