"""Frozen features: what the network gives, for every image that can be read, and nothing of it changed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lewel import config
from lewel.console import Console
from lewel.data.cifar import Pixels
from lewel.data.images import open_images
from lewel.data.loader import evaluation_batches
from lewel.engine.precision import Precision
from lewel.errors import UserError
from lewel.evaluate import features
from lewel.model.encoder import Encoder, Pooled
from lewel.shapes import Skip

CPU = Precision(torch.device("cpu"), "fp32")
DATA = config.Data(32, (), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))


def pictures(n: int) -> Pixels:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 40, 40, 3))
    return Pixels("noise", pixels.astype(np.uint8), np.arange(n) % 3, ["a", "b", "c"])


def test_they_are_the_pooled_map_in_eval_mode_bit_for_bit() -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet")
    images = pictures(300)
    rows, indices = features.extract(Pooled(encoder), images, DATA, CPU)
    assert rows.dtype == torch.float32 and indices.tolist() == list(range(300))
    encoder.eval()
    expected = []
    for batch in evaluation_batches(images, 32, 256, 0, DATA.mean, DATA.std):
        with torch.no_grad():
            expected.append(encoder(batch.views[0].pixels).mean(dim=(2, 3)))
    assert torch.equal(rows, torch.cat(expected))


def test_nothing_changes() -> None:
    torch.manual_seed(0)
    network = Pooled(Encoder("test_resnet")).train()
    network.encoder.backbone.layer1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    features.extract(network, pictures(20), DATA, CPU)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert modes == [module.training for module in network.modules()]
    assert torch.equal(random, torch.get_rng_state())


def folder(path: Path, n: int = 6) -> Path:
    for number in range(n):
        name = path / "ab"[number % 2] / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (40 * number, 0, 99)).save(name)
    return path


def test_unreadable_images_are_left_out_and_named(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path))
    Path(images.path(2)).write_bytes(b"no image")
    skipped: list[Skip] = []
    network = Pooled(Encoder("test_resnet"))
    rows, labels, seen = features.labelled_features(network, images, DATA, CPU, skipped=skipped)
    assert len(rows) == 5 and labels.tolist() == [0, 0, 1, 1, 1] and seen.tolist() == [0, 1, 3, 4, 5]
    assert [skip.path for skip in skipped] == [images.path(2)]
    for index in range(6):
        Path(images.path(index)).write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the images"):
        features.extract(network, images, DATA, CPU)


@pytest.mark.parametrize(
    ("broken", "named"), [("layer2.0.bn1.weight", "layer2.0.bn1"), ("conv1.weight", "conv1"), (None, "the pooling")]
)
def test_features_that_are_not_finite_name_the_image_and_the_layer(
    broken: str | None, named: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    encoder = Encoder("resnet18")
    network: nn.Module = Pooled(encoder)
    if broken is None:
        network.forward = lambda images: encoder(images).mean(dim=(2, 3)) / 0
    else:
        with torch.no_grad():
            encoder.backbone.get_parameter(broken)[3] = float("nan")
    images = open_images(folder(tmp_path))
    with pytest.raises(UserError) as caught:
        features.extract(network, images, DATA, CPU)
    message = str(caught.value)
    assert message.startswith(f"features of {images.path(0)} are not finite, first in {named};") and "\n" not in message
    assert network.training and not any(module._forward_hooks for module in network.modules())


def test_the_image_whose_features_overflow_is_named(tmp_path: Path) -> None:
    class Overflows(nn.Module):
        def forward(self, images):
            red = images.mean(dim=(2, 3))
            return (50 * (red - red[0])).exp()

    images = open_images(folder(tmp_path))  # redder and redder: a/0 a/2 a/4 b/1 b/3 b/5
    with pytest.raises(UserError, match=r"features of .*/a/4\.png are not finite, first in the pooling"):
        features.extract(Overflows(), images, config.Data(32, ()), CPU)


def test_progress_says_speed_and_time_left() -> None:
    said = io.StringIO()
    features.extract(Pooled(Encoder("test_resnet")), pictures(300), DATA, CPU, console=Console(file=said, width=200))
    assert said.getvalue().startswith("image 256/300  ") and "images/s" in said.getvalue() and "left" in said.getvalue()
