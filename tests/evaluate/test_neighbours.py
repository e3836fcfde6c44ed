"""The nearest images: against a sorted list, with an encoder that knows the labels, and under which weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lewel import config
from lewel.data import scenes
from lewel.data.images import mixed, open_images
from lewel.data.loader import evaluation_batches
from lewel.errors import UserError
from lewel.evaluate import neighbours, subject
from lewel.evaluate.neighbours import find, nearest_rows, networks
from lewel.interop import runs, weights
from lewel.model.encoder import Encoder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.make(tmp_path_factory.mktemp("photos") / "scenes", train=60, val=20, size=64)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(9)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    weights.save_encoder(Encoder("test_resnet"), path, {"image_size": 32, "mean": (0.5,) * 3, "std": (0.2,) * 3})
    return str(path)


def options(encoder: str, images: Path) -> config.Extraction:
    return config.Extraction(encoder, str(images), device="cpu", precision="fp32", workers=0)


class LabelPerfect(nn.Module):
    """Knows every image of the scenes, and gives its class as a unit vector."""

    def __init__(self, photos: Path, shown: config.Data) -> None:
        super().__init__()
        pixels, labels = [], []
        for split in ("train", "val"):
            images = open_images(photos, split)
            assert images.labels is not None
            drawn = evaluation_batches(images, shown.image_size, 100, 0, shown.mean, shown.std)
            pixels += [batch.views[0].pixels.flatten(1) for batch in drawn]
            labels += images.labels.tolist()
        self.pixels, self.labels = torch.cat(pixels), torch.tensor(labels)

    def forward(self, images: Tensor) -> Tensor:
        known = torch.cdist(images.flatten(1), self.pixels).argmin(dim=1)
        return functional.one_hot(self.labels[known], 10).float() + 0.01


def test_an_encoder_that_knows_the_labels_finds_only_its_own_class(
    encoder: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = subject.open_subject

    def perfect(source: str, seed: int = 0) -> subject.Subject:
        found = opened(source, seed)
        return dataclasses.replace(found, features=LabelPerfect(photos, found.data())) if source == encoder else found

    monkeypatch.setattr(neighbours, "open_subject", perfect)
    found = find(options(encoder, photos), 12, 5, 0, 1000)
    random, trained = found.columns
    assert (random.title, trained.title) == ("Random", "Trained")
    assert trained.neighbours.shape == (12, 5) and found.same(trained).all()
    assert 0 < found.same(random).mean() < 0.6
    assert found.chance() == pytest.approx(0.1, abs=0.01)
    assert found.queries.root.endswith("val") and found.gallery.root.endswith("train")


def test_queries_take_the_classes_in_turn(encoder: str, photos: Path) -> None:
    found = find(options(encoder, photos), 12, 3, 0, 1000)
    assert len(set(found.queries.labels[:10].tolist())) == 10
    other = find(options(encoder, photos), 12, 3, 1, 1000)
    assert [found.queries.path(i) for i in range(12)] != [other.queries.path(i) for i in range(12)]


def test_without_a_split_a_query_is_not_its_own_neighbour(encoder: str, photos: Path) -> None:
    whole = photos / "train"
    found = find(options(encoder, whole), 8, 4, 0, 30)
    assert len(found.gallery) == 30 and "none its own neighbour" in found.about[0]
    same = [(found.gallery.labels == label).sum() - 1 for label in found.queries.labels]
    assert found.chance() == pytest.approx(np.mean(same) / 29)
    for column in found.columns:
        for number, row in enumerate(column.neighbours):
            assert found.queries.path(number) not in [found.gallery.path(int(index)) for index in row]
            assert len(set(row.tolist())) == 4 and (np.diff(column.cosine[number]) <= 0).all()


def test_unreadable_images_are_neither_query_nor_neighbour(encoder: str, tmp_path: Path) -> None:
    photos = scenes.make(tmp_path / "scenes", train=20, val=10, size=64) / "train"
    images = open_images(photos)
    broken = [0, int(mixed(images, 0)[0])]
    for index in broken:
        Path(images.path(index)).write_bytes(b"no image")
    found = find(options(encoder, photos), 20, 30, 0, 1000)
    assert len(found.queries) == 20 - len(set(broken))
    for column in found.columns:
        assert column.neighbours.shape == (len(found.queries), len(found.queries) - 1)
        assert not set(broken) & set(column.neighbours.flatten().tolist())


@pytest.mark.parametrize("itself", [None, [3, 0, 39]])
def test_nearest_rows_are_those_of_a_sorted_list(itself: list[int] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(40, 6, generator=generator)
    queries = torch.randn(3, 6, generator=generator) if itself is None else 2 * keys[itself]
    places, cosine = nearest_rows(queries, keys, 7, None if itself is None else np.array(itself))
    for number, query in enumerate(queries):
        values = [float(query @ key / query.norm() / key.norm()) for key in keys]
        order = sorted(range(40), key=lambda i, v=values: -v[i])
        expected = [i for i in order if itself is None or i != itself[number]][:7]
        assert places[number].tolist() == expected
        assert cosine[number].tolist() == pytest.approx([values[i] for i in expected], abs=1e-5)


def test_which_weights_are_compared(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [(each.title, each.source, each.seed) for each in networks(encoder, 3)]
    assert sources == [("Random", f"random:{encoder}", 3), ("Trained", encoder, 3)]
    assert [each.source for each in networks("timm:resnet18=a.pth", 0)] == ["random:resnet18", "timm:resnet18=a.pth"]
    with pytest.raises(UserError, match="--weights random:resnet18 are untrained"):
        networks("random:resnet18", 0)
    run = str(tmp_path)
    monkeypatch.setattr(runs, "beginning", lambda path: runs.Beginning(f"random:{path}", 3))
    random, initial, trained = networks(run, 3)
    assert (random.source, random.seed, initial.source, initial.seed) == (f"random:{run}", 4, f"random:{run}", 3)
    assert networks(run, 5)[0].seed == 5 and trained.source == run
    monkeypatch.setattr(runs, "beginning", lambda path: runs.Beginning(f"{path}/initial.safetensors", None))
    assert [each.note for each in networks(run, 3)][1] == "as the run began: initial.safetensors"
