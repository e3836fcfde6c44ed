"""Colour operations on packed pixels against Pillow's: the same grey levels, every one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lewel.data import packed, pillow
from lewel.data.tensors import amount

SIDE = 48


def noise(count: int, seed: int = 0) -> list[Image.Image]:
    """Noise of every strength, so that grey, pale and saturated colours and the borders of all cases come up."""
    rng = np.random.default_rng(seed)
    shape = (SIDE, SIDE, 3)
    return [
        Image.fromarray((128 + strength * rng.integers(-128, 128, shape)).astype(np.uint8))
        for strength in np.linspace(0.02, 1, count)
    ]


def stacked(images: list[Image.Image]) -> Tensor:
    return packed.from_bytes(torch.stack([torch.from_numpy(np.array(image.convert("RGBX"))) for image in images]))


def same(ours: Tensor, theirs: list[Image.Image]) -> bool:
    """Red, green and blue are equal; the padding may be anything."""
    assert len(ours) == len(theirs)
    return all(map(torch.equal, packed.channels(ours), packed.channels(stacked(theirs))))


def amounts(name: str, values: list[float]) -> Tensor:
    return torch.tensor([amount(name, value) for value in values]).view(-1, 1, 1)


def every_colour(step: int) -> Image.Image:
    levels = np.unique([*range(0, 256, step), 255]).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0.0, 2.0), ("contrast", 0.0, 2.0), ("saturation", 0.0, 2.0), ("hue", -0.5, 0.5)],
)
def test_jitter_is_pillows(name: str, low: float, high: float) -> None:
    images = noise(40)
    values = torch.linspace(low, high, len(images)).tolist()
    theirs = [pillow.JITTER[name](image, value) for image, value in zip(images, values, strict=True)]
    assert same(packed.OPERATIONS[name](stacked(images), amounts(name, values)), theirs)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_jitter_of_many_colours_is_pillows(name: str) -> None:
    image = every_colour(5)
    for value in (0.07, 0.33, -0.2) if name == "hue" else (0.33, 0.6, 1.07, 1.4):
        ours = packed.OPERATIONS[name](stacked([image]), amounts(name, [value]))
        assert same(ours, [pillow.JITTER[name](image, value)])


@pytest.mark.slow
def test_hue_of_every_colour_is_pillows() -> None:
    """All 2**24, by all steps that leave another colour: hue is cut where it often is whole."""
    whole = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 3, indexing="ij"), -1)
    for part in range(0, 256, 8):
        image = Image.fromarray(whole[part : part + 8].reshape(256, -1, 3))
        for shift in (0.0, 0.07, -0.1):
            assert same(packed.hue(stacked([image]), amounts("hue", [shift])), [pillow.hue(image, shift)])


def test_the_way_back_of_every_hue_saturation_and_value_is_pillows() -> None:
    """Found by turning each of the saturated hues by every step; Pillow's own turn is a byte that overflows."""
    image = every_colour(51)
    for steps in range(-127, 128):
        ours = packed.hue(stacked([image]), torch.tensor([float(steps)]).view(1, 1, 1))
        values = np.array(image.convert("HSV"))
        values[..., 0] += np.uint8(steps % 256)
        assert same(ours, [Image.frombytes("HSV", image.size, values.tobytes()).convert("RGB")])


def test_gray_and_solarize_are_pillows() -> None:
    images = [*noise(5), *noise(5, seed=1)]
    nothing = torch.zeros(10, 1, 1)
    assert same(packed.gray(stacked(images), nothing), [pillow.grayscale(image) for image in images])
    assert same(packed.solarize(stacked(images), nothing), [pillow.solarize(image) for image in images])


@pytest.mark.parametrize("largest", [0.57, 2.0, 5.0])
def test_blur_is_pillows(largest: float) -> None:
    """Three box filters, each rounded; also where the picture ends, and with more taps than a sigma needs."""
    images = noise(12)
    sigmas = torch.linspace(0.1, largest, len(images)).tolist()
    boxes = torch.from_numpy(np.stack([packed.box(sigma, largest) for sigma in sigmas]))
    theirs = [image.filter(ImageFilter.GaussianBlur(sigma)) for image, sigma in zip(images, sigmas, strict=True)]
    assert same(packed.blur(stacked(images), boxes), theirs)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.8, 2.0])
def test_blur_of_black_and_white_does_not_overflow(sigma: float) -> None:
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:, ::2], stripes[: SIDE // 2] = 255, 255
    image = Image.fromarray(stripes)
    boxes = torch.from_numpy(packed.box(sigma, 2.0))[None]
    assert same(packed.blur(stacked([image]), boxes), [image.filter(ImageFilter.GaussianBlur(sigma))])


def test_channels_and_packed() -> None:
    pixels = torch.randint(-(2**31), 2**31, (2, 5, 7), dtype=torch.int32)
    red, green, blue = packed.channels(pixels)
    as_bytes = pixels.unsqueeze(-1).view(torch.uint8)
    assert torch.equal(torch.stack([red, green, blue], -1), as_bytes[..., :3].int())
    assert torch.equal(packed.packed(red, green, blue), pixels & 0xFFFFFF)
