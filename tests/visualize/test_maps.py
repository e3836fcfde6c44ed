"""Which maps are shown, how, and that looking changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lewel import build, config, recipes
from lewel.errors import UserError
from lewel.visualize import maps


def small(name: str) -> config.Recipe:
    recipe = recipes.get(name)
    return replace(recipe, method=replace(recipe.method, encoder=config.Encoder("test_resnet")))


def pictures(count: int, size: tuple[int, int] = (70, 50)) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(count)]


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_looking_changes_nothing() -> None:
    recipe = small("lewel_b_tiny")
    method = build.method(recipe).train()
    before, modes = state(method), [part.training for part in method.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    figure = maps.maps_figure(method, method, pictures(6), recipe.data)
    assert torch.equal(torch.rand(3), expected)
    assert modes == [part.training for part in method.modules()] and modes[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    assert len(figure.axes) == 8 * (1 + 2 * maps.MAPS)  # columns times (the pictures, two rows a map)


def test_indices_are_shown_in_their_order() -> None:
    recipe = small("lewel_m_tiny")
    method = build.method(recipe)
    figure = maps.maps_figure(method, method, pictures(7), recipe.data, [5, 2])
    words = [text.get_text() for text in figure.texts]
    assert [word for word in words if word.startswith("map ")] == ["map 5", "map 2"]
    assert sum(word.startswith("H ") for word in words) == 9 * 4


def test_alignment_is_the_methods_own() -> None:
    """In eval mode the maps are those of `out["maps"]`."""
    recipe = small("lewel_b_tiny")
    method = build.method(recipe).eval()
    pixels = torch.randn(3, 3, 96, 96)
    _, out = method(pixels, pixels)
    found = maps.alignment(method, pixels, "aligned")
    assert torch.equal(found, out["maps"]["aligned"])
    torch.testing.assert_close(found.sum(dim=(2, 3)), torch.ones(3, 128))


def test_random_maps_are_the_same_for_both_networks() -> None:
    recipe = small("lewel_m_random_maps_tiny")
    pixels = torch.randn(2, 3, 64, 64)
    first, second = (maps.alignment(build.method(recipe), pixels, "aligned") for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("size", "expected"), [(None, 128), (32, 32), (96, 96)])
def test_size(size: int | None, expected: int) -> None:
    assert maps._side(size, 64) == expected


@pytest.mark.parametrize(
    ("name", "kwargs", "count", "words"),
    [
        ("moco_v2_tiny", {}, 6, "fixed maps"),
        ("byol_tiny", {}, 6, "fixed maps"),
        ("lewel_b_tiny", {}, 5, "5 images"),
        ("lewel_b_tiny", {"indices": [128]}, 6, "0 to 127"),
        ("lewel_b_tiny", {"size": 100}, 6, "--size 100"),
        ("lewel_b_tiny", {"term": "global"}, 6, "aligned"),
    ],
)
def test_errors(name: str, kwargs: dict, count: int, words: str) -> None:
    recipe = small(name)
    method = build.method(recipe)
    with pytest.raises(UserError, match=words):
        maps.maps_figure(method, method, pictures(count), recipe.data, **kwargs)


def test_choose_wants_change_between_images_and_no_two_alike() -> None:
    """A strong but fixed pattern comes last; a scaled copy of a chosen map is passed over."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(6, 3, 4, 4, generator=generator)
    fixed = 100 * torch.randn(1, 1, 4, 4, generator=generator).expand(6, 1, 4, 4)
    stack = torch.cat([fixed, 3 * noise[:, :1], 2.9 * noise[:, :1], 2 * noise[:, 1:2], noise[:, 2:]], dim=1)
    assert maps.choose(stack, 3) == [1, 3, 4]
    assert sorted(maps.choose(stack, 5)) == [0, 1, 2, 3, 4]  # all, where there are no others


def test_entropy() -> None:
    uniform = torch.full((4, 4), 1 / 16)
    half = torch.cat([torch.full((2, 4), 1 / 8), torch.zeros(2, 4)])
    one = torch.zeros(4, 4)
    one[1, 2] = 1
    expected = torch.tensor([1.0, math.log(8) / math.log(16), 0.0])
    torch.testing.assert_close(maps.entropy(torch.stack([uniform, half, one])), expected)


def test_stretched_runs_from_0_to_1() -> None:
    one = torch.tensor([[0.249, 0.250], [0.250, 0.251]])
    found = maps.stretched(one, (40, 20))
    assert found.shape == (20, 40)
    assert found[0, 0] == 0 and found[-1, -1] == pytest.approx(1)
    assert not maps.stretched(torch.full((2, 2), 0.25), (8, 8)).any()


def test_save(tmp_path) -> None:
    recipe = small("lewel_b_tiny")
    method = build.method(recipe)
    maps.save(maps.maps_figure(method, method, pictures(6), recipe.data, [0]), tmp_path / "new" / "maps.png")
    with Image.open(tmp_path / "new" / "maps.png") as image:
        assert image.format == "PNG" and image.width > 800
