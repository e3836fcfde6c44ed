"""The reference executor, bit for bit torchvision's operations on Pillow images."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812

from lewel.config import View
from lewel.data import pillow
from lewel.data.augment import Parameters, sample


def picture(seed: int = 0, size: tuple[int, int] = (53, 41)) -> Image.Image:
    """Structure at two scales, saturated colours, black and white."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(coarse).astype(int) + rng.integers(-40, 40, (size[1], size[0], 3))
    values[:4, :4], values[-4:, -4:], values[:4, -4:] = 0, 255, (255, 0, 0)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def all_colours() -> Image.Image:
    """Each of 33 levels a channel."""
    levels = np.linspace(0, 255, 33).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(33, -1, 3))


PICTURES = [picture(0), picture(1, (64, 64)), picture(2, (9, 200)), all_colours(), picture(3, (224, 224))]


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    return ours.mode == theirs.mode == "RGB" and ours.size == theirs.size and ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.6, 0.999, 1.0, 1.2, 1.4, 2.5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pillow.brightness, F.adjust_brightness),
        (pillow.contrast, F.adjust_contrast),
        (pillow.saturation, F.adjust_saturation),
    ],
)
def test_factors(ours, theirs, factor: float) -> None:
    for image in PICTURES:
        assert same(ours(image, factor), theirs(image, factor))


@pytest.mark.parametrize("shift", [-0.5, -0.1, -0.003, 0.0, 0.001, 0.05, 0.1, 0.37, 0.5])
def test_hue(shift: float) -> None:
    for image in PICTURES:
        assert same(pillow.hue(image, shift), F.adjust_hue(image, shift))


def test_grayscale_and_solarize() -> None:
    for image in PICTURES:
        assert same(pillow.grayscale(image), F.rgb_to_grayscale(image, 3))
        assert same(pillow.solarize(image), F.solarize(image, 128))


@pytest.mark.parametrize("crop", [(0, 0, 53, 41), (3, 5, 20, 31), (50, 40, 1, 1), (7, 0, 40, 8)])
@pytest.mark.parametrize("side", [1, 16, 32, 64])
def test_resized_crop(crop: tuple[int, int, int, int], side: int) -> None:
    left, top, width, height = crop
    theirs = F.resized_crop(PICTURES[0], top, left, height, width, [side, side], InterpolationMode.BILINEAR)
    assert same(pillow.resized_crop(PICTURES[0], crop, side), theirs)


@pytest.mark.parametrize("degrees", [-90.0, -12.5, 0.0, 33.0, 180.0])
def test_rotation(degrees: float) -> None:
    for image in PICTURES[:2]:
        assert same(pillow.rotated(image, degrees), F.rotate(image, degrees, InterpolationMode.BILINEAR))


def composed(image: Image.Image, p: Parameters, flip_last: bool) -> Image.Image:
    """The published pipelines in torchvision's words: BYOL and LEWEL flip after the crop, MoCo v2 flips last."""
    if p.rotation:
        image = F.rotate(image, p.rotation, InterpolationMode.BILINEAR)
    left, top, width, height = p.crop
    image = F.resized_crop(image, top, left, height, width, [p.output, p.output], InterpolationMode.BILINEAR)
    if p.flip and not flip_last:
        image = F.hflip(image)
    adjust = {
        "brightness": F.adjust_brightness,
        "contrast": F.adjust_contrast,
        "saturation": F.adjust_saturation,
        "hue": F.adjust_hue,
    }
    for name, strength in p.jitter:
        image = adjust[name](image, strength)
    if p.gray:
        image = F.rgb_to_grayscale(image, 3)
    if p.blur:
        image = image.filter(ImageFilter.GaussianBlur(radius=p.blur))
    if p.solarize:
        image = F.solarize(image, 128)
    if p.flip and flip_last:
        image = F.hflip(image)
    return F.vflip(image) if p.vertical_flip else image


VIEW = View(flip=0.6, vertical_flip=0.3, jitter=(0.4, 0.4, 0.2, 0.1), gray=0.3, blur=0.6, solarize=0.4)


@pytest.mark.parametrize("flip_last", [False, True], ids=["byol", "moco"])
@pytest.mark.parametrize("side", [31, 64])
def test_whole_pipelines(flip_last: bool, side: int) -> None:
    """200 views: mirroring commutes with every operation in between, so one order serves both papers."""
    flips = 0
    for index in range(200):
        image = PICTURES[index % len(PICTURES)]
        view = replace(VIEW, rotation=20.0 if index % 3 == 0 else 0.0)
        p = sample(view, image.size, side, 0, 0, index, 0)
        flips += p.flip and p.blur > 0 and bool(p.jitter)
        expected = F.pil_to_tensor(composed(image, p, flip_last))
        assert torch.equal(pillow.apply(image, p), expected), p
    assert flips > 30


def test_the_order_of_the_jitter_matters_and_is_kept() -> None:
    image = PICTURES[0]
    strengths = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.2, "hue": 0.1}
    results = set()
    for order in permutations(strengths):
        jitter = tuple((name, strengths[name]) for name in order)
        p = Parameters(image.size, (0, 0, 32, 32), 32, jitter=jitter)
        assert torch.equal(pillow.apply(image, p), F.pil_to_tensor(composed(image, p, False)))
        results.add(pillow.augmented(image, p).tobytes())
    assert len(results) == 24


def test_the_image_stays_as_it_is_and_no_memory_is_shared() -> None:
    image = PICTURES[1].copy()
    before = image.tobytes()
    p = Parameters(image.size, (0, 0, 64, 64), 64)
    result = pillow.apply(image, p)
    assert result.dtype == torch.uint8 and result.shape == (3, 64, 64)
    result.zero_()
    pillow.apply(image, sample(VIEW, image.size, 64, 0, 0, 0, 0))
    assert image.tobytes() == before


@pytest.mark.parametrize("source", [(300, 200), (200, 300), (224, 224), (100, 90), (256, 256)])
def test_central_view_as_for_imagenet(source: tuple[int, int]) -> None:
    image = picture(4, source)
    resized = F.resize(image, [256], InterpolationMode.BILINEAR)
    assert same(pillow.resized_center(image, 224), F.center_crop(resized, [224, 224]))


def test_central_view_of_small_images() -> None:
    for image in (picture(5, (64, 64)), picture(5, (32, 32))):
        assert same(pillow.resized_center(image, image.width), image)
    wide = picture(5, (90, 70))
    assert same(pillow.resized_center(wide, 64), F.center_crop(F.resize(wide, [64]), [64, 64]))


@pytest.mark.parametrize("size", [(3000, 10), (10, 3000), (1001, 3), (5000, 70), (1, 700)])
@pytest.mark.parametrize("side", [32, 96, 224])
def test_the_centre_of_a_thin_image(size: tuple[int, int], side: int) -> None:
    """As by the whole scaled image, but for rounding."""
    image = picture(0, size)
    short = side if side <= 64 else round(side * 256 / 224)
    scaled = tuple(int(short * each / min(size)) for each in size)
    whole = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (round((each - side) / 2) for each in scaled)
    wanted = np.asarray(whole.crop((left, top, left + side, top + side))).astype(int)
    assert np.abs(np.asarray(pillow.resized_center(image, side)) - wanted).max() <= 1


@pytest.mark.parametrize("size", [(65000, 1), (1, 65000), (30000, 8), (1, 1)])
def test_no_image_is_scaled_to_gigabytes(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    resize = Image.Image.resize

    def little(image: Image.Image, size: tuple[int, int], *more: object) -> Image.Image:
        assert size[0] * size[1] < 10**6
        return resize(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", little)
    image = Image.new("RGB", size, (10, 20, 30))
    assert pillow.resized_center(image, 224).getcolors() == [(224 * 224, (10, 20, 30))]
    for number in range(5):
        drawn = sample(View(), size, 224, 0, 0, number, 0)
        assert pillow.resized_crop(image, drawn.crop, 224).size == (224, 224)
