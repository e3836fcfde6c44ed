"""The fast executor against Pillow: the same grey levels, bit for bit, but for the resize."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lewel.config import View
from lewel.data import pillow, tensors
from lewel.data.augment import Parameters, sample

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
    return torch.stack([torch.from_numpy(np.array(image)) for image in images])


def amounts(values: list[float]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0.0, 2.0), ("contrast", 0.0, 2.0), ("saturation", 0.0, 2.0), ("hue", -0.5, 0.5)],
)
def test_jitter_is_pillows(name: str, low: float, high: float) -> None:
    images = noise(40)
    values = torch.linspace(low, high, len(images)).tolist()
    ours = tensors.OPERATIONS[name](stacked(images).permute(0, 3, 1, 2), amounts(values))
    theirs = stacked([pillow.JITTER[name](image, value) for image, value in zip(images, values, strict=True)])
    assert torch.equal(ours.permute(0, 2, 3, 1), theirs)


def test_hue_of_every_pair_of_levels_is_pillows() -> None:
    """Hue is cut to 8 bits where its fraction is often whole; one rounding otherwise and it is another level."""
    first, second = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for third in (0, 1, 50, 128, 255):
        for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
            picture = np.stack([first, second, np.full_like(first, third)], axis=-1)[..., order]
            ours = tensors.hue(torch.from_numpy(picture).permute(2, 0, 1)[None], amounts([0.07]))
            theirs = np.array(pillow.hue(Image.fromarray(picture), 0.07))
            assert np.array_equal(ours[0].permute(1, 2, 0).numpy(), theirs)


@pytest.mark.parametrize("largest", [0.57, 2.0, 5.0])
def test_blur_is_pillows(largest: float) -> None:
    """Three box filters, each rounded; also where the picture ends, and with more taps than a sigma needs."""
    images = noise(12)
    sigmas = torch.linspace(0.1, largest, len(images)).tolist()
    boxes = torch.from_numpy(np.stack([tensors.box(sigma, largest) for sigma in sigmas]))
    ours = tensors.blur(stacked(images).permute(0, 3, 1, 2), boxes)
    theirs = [image.filter(ImageFilter.GaussianBlur(sigma)) for image, sigma in zip(images, sigmas, strict=True)]
    assert torch.equal(ours.permute(0, 2, 3, 1), stacked(theirs))


def drawn(count: int, size: tuple[int, int] = (SIDE, SIDE)) -> list[Parameters]:
    view = View(
        jitter=(0.8, 0.8, 0.8, 0.2), jitter_probability=0.9, gray=0.3, blur=0.6, solarize=0.4, vertical_flip=0.5
    )
    return [sample(view, size, SIDE, 0, 0, index, 0) for index in range(count)]


def test_whole_views_of_the_same_crops_are_pillows() -> None:
    images, parameters = noise(60), drawn(60)
    whole = [(0, 0, SIDE, SIDE)] * 60
    crops = [image_of(image, p) for image, p in zip(images, parameters, strict=True)]
    ours = tensors.apply(stacked(crops), tensors.colours_of(parameters, 2.0))
    theirs = [pillow.augmented(c, unmoved(p, box)) for c, p, box in zip(crops, parameters, whole, strict=True)]
    assert torch.equal(ours.permute(0, 2, 3, 1), stacked(theirs))


def image_of(image: Image.Image, p: Parameters) -> Image.Image:
    return pillow.resized_crop(image, p.crop, p.output)


def unmoved(p: Parameters, box: tuple[int, int, int, int]) -> Parameters:
    """The same colours, no geometry."""
    return Parameters((SIDE, SIDE), box, SIDE, jitter=p.jitter, gray=p.gray, blur=p.blur, solarize=p.solarize)


def smooth(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_crops_are_pillows_to_a_level() -> None:
    """Both weigh with triangles cut to 8 or more bits, each with a rounding of its own."""
    image = smooth(160, 120)
    pixels = torch.from_numpy(np.array(image))
    worst, differences = 0, []
    for p in drawn(40, image.size):
        out = torch.empty(SIDE, SIDE, 3, dtype=torch.uint8)
        tensors.resized_crop(pixels, p, out)
        theirs = pillow.resized_crop(image, p.crop, p.output)
        for axis, wanted in ((0, p.flip), (1, p.vertical_flip)):
            theirs = theirs.transpose(Image.Transpose(axis)) if wanted else theirs
        difference = (out.int() - torch.from_numpy(np.array(theirs)).int()).abs()
        worst, differences = max(worst, int(difference.max())), [*differences, difference.float().mean()]
    assert worst <= 1 and torch.stack(differences).mean() < 0.5


def test_a_batch_with_nothing_to_do_stays_as_it_is() -> None:
    crops = stacked(noise(3))
    plain = [unmoved(Parameters((SIDE, SIDE), (0, 0, SIDE, SIDE), SIDE), (0, 0, SIDE, SIDE))] * 3
    assert torch.equal(tensors.apply(crops, tensors.colours_of(plain, 2.0)).permute(0, 2, 3, 1), crops)


@pytest.mark.slow
def test_compiled_is_the_same_for_any_number_of_rows() -> None:
    for count in (60, 7):
        crops, colours = stacked(noise(count)), tensors.colours_of(drawn(count), 2.0)
        assert torch.equal(tensors.apply(crops, colours, compiled=True), tensors.apply(crops, colours))
