"""The mean position is exact, moves with its map, and is learned from nothing but points."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from lewel.evaluate.dense.landmarks.model import WIDTH, Regressor, soft_argmax
from lewel.evaluate.dense.landmarks.views import Points
from lewel.model.encoder import Encoder


def regressor(points: int = 3, size: int = 64, name: str = "resnet18", stem: str = "imagenet") -> Regressor:
    torch.manual_seed(0)
    return Regressor(Encoder(name, stem), points, size, "batch")


def sizes(images: torch.Tensor) -> torch.Tensor:
    return torch.tensor([images.shape[2:]] * len(images))


def test_of_one_position_it_is_that_one_exactly() -> None:
    maps = torch.full((1, 6 * 9, 6, 9), -torch.inf)
    maps.view(54, 54).fill_diagonal_(0)
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
    expected = torch.stack([columns, rows], dim=2).reshape(1, 54, 2) + 0.5
    assert torch.equal(soft_argmax(maps), expected)


def test_of_equal_positions_it_is_the_middle() -> None:
    assert torch.allclose(soft_argmax(torch.full((2, 3, 10, 7), 4.2)), torch.tensor([3.5, 5.0]))


def test_it_is_the_mean_of_softmax() -> None:
    maps = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = maps.float().exp()[0, 0]
    x = sum(weights[i, j] * (j + 0.5) for i in range(4) for j in range(5)) / weights.sum()
    y = sum(weights[i, j] * (i + 0.5) for i in range(4) for j in range(5)) / weights.sum()
    assert torch.allclose(soft_argmax(maps.float())[0, 0], torch.stack([torch.as_tensor(x), torch.as_tensor(y)]))


def test_it_moves_with_its_map() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.full((1, 4, 16, 20), -torch.inf)
    maps[..., 2:8, 3:9] = 3 * torch.randn(1, 4, 6, 6, generator=rng)
    shifted = soft_argmax(maps.roll((5, 7), dims=(2, 3)))
    assert torch.allclose(shifted, soft_argmax(maps) + torch.tensor([7.0, 5.0]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stem", "size", "times"),
    [("resnet18", "imagenet", 256, 3), ("resnet18", "small", 64, 1), ("mobilenetv3_small_050", "imagenet", 64, 3)],
)
def test_a_position_has_four_pixels(name: str, stem: str, size: int, times: int) -> None:
    """As many deconvolutions as that takes, and the head's parameters as Simple Baselines has them."""
    module = regressor(68, size, name, stem).eval()
    assert len(module.up) == times
    assert module.heat_maps(torch.zeros(1, 3, size, size)).shape == (1, 68, size // 4, size // 4)
    channels = module.encoder.map_shape(size)[0]
    up = 16 * WIDTH * (channels + (times - 1) * WIDTH) + times * 2 * WIDTH
    found = sum(p.numel() for part in (module.up, module.maps) for p in part.parameters())
    assert found == up + (WIDTH + 1) * 68


def test_the_encoder_is_the_one_given() -> None:
    encoder = Encoder("resnet18")
    before, images = encoder.eval().state_dict(), torch.rand(1, 3, 64, 64)
    expected = encoder(images)
    module = Regressor(encoder, 5, 64, "batch").eval()
    inside = {name.removeprefix("encoder."): t for name, t in module.state_dict().items() if "encoder." in name}
    assert inside.keys() == before.keys() and all(torch.equal(inside[name], before[name]) for name in before)
    assert torch.equal(module.encoder(images), expected)


def test_other_norms() -> None:
    frozen, group = (Regressor(Encoder("resnet18"), 3, 64, norm) for norm in ("frozen", "group"))
    assert any(isinstance(part, FrozenBatchNorm2d) for part in frozen.encoder.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for each in (frozen, group) for part in each.modules())
    assert frozen.predict(torch.rand(1, 3, 64, 64), torch.tensor([[64, 64]])).shape == (1, 3, 2)


@torch.no_grad()
def test_points_are_pixels_of_the_image_whatever_its_size() -> None:
    """All maps are nearly equal at first: every point is in the middle."""
    module = regressor().eval()
    for height, width in ((64, 64), (96, 128)):
        images = torch.rand(2, 3, height, width)
        found = module.predict(images, sizes(images))
        assert torch.allclose(found, torch.tensor([width / 2, height / 2]).expand(2, 3, 2), atol=0.5)


def test_the_loss_is_the_distance_in_positions() -> None:
    module = regressor().train()
    images = torch.rand(2, 3, 64, 64)
    module.maps.weight.data.zero_()
    targets = [Points(torch.tensor([[32.0, 32], [36, 32], [32, 24]]))] * 2
    loss, out = module(images, sizes(images), targets)
    assert loss.item() == pytest.approx((0 + 1 + 2) / 6, abs=1e-5) and out["loss_points"].item() == loss.item()


def test_hidden_points_are_not_learned() -> None:
    """The loss is the mean over the others, as if the hidden ones were predicted; their maps get no gradient."""
    module = regressor().train()
    images, truth = torch.rand(2, 3, 64, 64), torch.tensor([[32.0, 32], [36, 32], [32, 24]]).repeat(2, 1, 1)
    whole, _ = module(images, sizes(images), [Points(each) for each in truth])
    own = soft_argmax(module.heat_maps(images)).detach() * 4
    truth[:, 2] = torch.nan
    loss, _ = module(images, sizes(images), [Points(each) for each in truth])
    loss.backward()
    seen = (own[:, :2] - truth[:, :2]).abs().mean() / 4
    assert loss.item() == pytest.approx(seen.item(), rel=1e-4) and loss.item() != pytest.approx(whole.item(), rel=1e-2)
    gradient = module.maps.weight.grad
    assert gradient is not None and gradient.isfinite().all()
    assert not gradient[2].any() and gradient[:2].flatten(1).any(dim=1).all()
    module.zero_grad()
    nothing, _ = module(images, sizes(images), [Points(torch.full((3, 2), torch.nan))] * 2)
    nothing.backward()
    assert nothing.item() == 0 and all(p.grad is None or not p.grad.any() for p in module.parameters())


def test_bf16_says_nearly_the_same() -> None:
    module = regressor().train()
    module.maps.weight.data.mul_(1000)
    images = torch.rand(4, 3, 64, 64)
    targets = [Points(torch.rand(3, 2) * 64)] * 4
    full, _ = module(images, sizes(images), targets)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = module(images, sizes(images), targets)
        points = module.eval().predict(images, sizes(images))
    half.backward()
    assert half.dtype == points.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
