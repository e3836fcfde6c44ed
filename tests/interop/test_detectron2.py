"""For detectron2: names, shapes and the pickle as its documentation has them; nothing that a pickle names is run."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lewel.errors import UserError
from lewel.interop import architectures, detectron2, weights
from lewel.interop.export import Exported, export
from lewel.interop.given import ResNet, open_given
from lewel.model.encoder import Encoder


@pytest.fixture(scope="module")
def exported(source: str, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(source, "detectron2", tmp_path_factory.mktemp("out") / "a.pkl", images)


def detectron2s_resnet50() -> set[str]:
    """As its documentation builds them: a stem, res2 to res5, a shortcut in each stage's first block."""
    layers = {"stem.conv1"}
    for stage, count in zip(("res2", "res3", "res4", "res5"), (3, 4, 6, 3), strict=True):
        layers |= {f"{stage}.{block}.conv{number}" for block, number in product(range(count), (1, 2, 3))}
        layers.add(f"{stage}.0.shortcut")
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{layer}.weight" for layer in layers} | {f"{layer}.norm.{name}" for layer, name in product(layers, norm)}


def by_the_published_rule(name: str) -> str:
    """MoCo's conversion in words: replacements one after the other."""
    if "layer" not in name:
        name = f"stem.{name}"
    for number in (1, 2, 3, 4):
        name = name.replace(f"layer{number}", f"res{number + 1}").replace(f"bn{number}", f"conv{number}.norm")
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def test_detectron2s_names_of_resnet50() -> None:
    with torch.device("meta"):
        names = list(Encoder("resnet50").backbone.state_dict())
    found = [detectron2.renamed(name) for name in names]
    assert len(found) == 318 and set(found) == detectron2s_resnet50()
    assert found == [by_the_published_rule(name) for name in names]


@pytest.mark.parametrize("name", architectures.RESNETS)
def test_the_reader_of_detectron2s_names_has_the_shapes(name: str) -> None:
    kinds = {
        "resnet18": (18, 1, 64),
        "resnet34": (34, 1, 64),
        "resnet50": (50, 1, 64),
        "resnet101": (101, 1, 64),
        "resnet152": (152, 1, 64),
        "wide_resnet50_2": (50, 1, 128),
        "wide_resnet101_2": (101, 1, 128),
        "resnext50_32x4d": (50, 32, 4),
        "resnext101_32x8d": (101, 32, 8),
    }
    with torch.device("meta"):
        theirs = detectron2.Network(ResNet(name, *kinds[name])).state_dict()
        ours = Encoder(name).backbone.state_dict()
    assert {detectron2.renamed(each): tensor.shape for each, tensor in ours.items()} == {
        each: tensor.shape for each, tensor in theirs.items()
    }


def test_the_pickle_is_plain(exported: Exported, source: str) -> None:
    data = exported.out.read_bytes()
    named = {str(name) for code, name, _ in pickletools.genops(data) if code.name in ("GLOBAL", "STACK_GLOBAL")}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}  # numpy 1 and 2 know them
    content = pickle.loads(data, encoding="latin1")  # as detectron2 does
    assert list(content)[:3] == ["model", "__author__", "matching_heuristics"]
    assert content["matching_heuristics"] is True and isinstance(content["__author__"], str)
    ours = weights.load_encoder(source).backbone.state_dict()
    assert all(isinstance(array, np.ndarray) for array in content["model"].values())
    for name, tensor in ours.items():
        array = content["model"][by_the_published_rule(name)]
        assert array.dtype == tensor.numpy().dtype and np.array_equal(array, tensor.numpy())


class Harm:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_pickle_is_run(source: str, images: Path, tmp_path: Path) -> None:
    out, touched = tmp_path / "out.pkl", tmp_path / "touched"
    out.write_bytes(pickle.dumps({"model": Harm(touched), "lewel": {}}))
    with pytest.raises(UserError, match="was not written by lewel export"):
        export(source, "detectron2", out, images)
    assert not touched.exists()
    pickle.loads(out.read_bytes())
    assert touched.exists()  # it would have


def test_detectron2s_config(exported: Exported) -> None:
    config = yaml.safe_load(exported.config)
    assert config["MODEL"] == {
        "WEIGHTS": str(exported.out),
        "PIXEL_MEAN": [127.5, 102.0, 76.5],
        "PIXEL_STD": [51.0, 63.75, 76.5],
        "RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64},
    }
    assert config["INPUT"] == {"FORMAT": "RGB"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("resnet50", {}),
        ("resnext50_32x4d", {"NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}),
        ("wide_resnet50_2", {"NUM_GROUPS": 1, "WIDTH_PER_GROUP": 128}),
    ],
)
def test_bottlenecks_have_the_stride_in_the_3x3(name: str, more: dict[str, int], tmp_path: Path) -> None:
    given = open_given(f"random:{name}", "detectron2")
    assert yaml.safe_load(detectron2.config(given, tmp_path))["MODEL"]["RESNETS"] == {
        "DEPTH": 50,
        "STRIDE_IN_1X1": False,
        **more,
    }


@pytest.mark.slow
def test_resnet50(saved: Callable[..., str], images: Path, tmp_path: Path) -> None:
    found = export(saved(tmp_path / "a.safetensors", "resnet50"), "detectron2", tmp_path / "a.pkl", images)
    assert (found.tensors, found.read.matched) == (318, 318)
    assert all(each.largest <= 1e-6 * each.scale for each in found.differences)
