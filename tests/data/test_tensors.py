"""The fast executor against Pillow: whole views, crops, any number of rows, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lewel.config import View
from lewel.data import packed, pillow, tensors
from lewel.data.augment import Parameters, sample
from lewel.data.finishing import Normalise

SIDE = 48
WHOLE = (0, 0, SIDE, SIDE)


def noise(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, 3)
    return [
        Image.fromarray((128 + strength * rng.integers(-128, 128, shape)).astype(np.uint8))
        for strength in np.linspace(0.02, 1, count)
    ]


def stacked(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(image.convert("RGBX"))) for image in images])


def colours(pixels: Tensor) -> Tensor:
    return torch.stack(packed.channels(pixels))


def drawn(count: int, size: tuple[int, int] = (SIDE, SIDE)) -> list[Parameters]:
    view = View(
        jitter=(0.8, 0.8, 0.8, 0.2), jitter_probability=0.9, gray=0.3, blur=0.6, solarize=0.4, vertical_flip=0.5
    )
    return [sample(view, size, SIDE, 0, 0, index, 0) for index in range(count)]


def unmoved(p: Parameters) -> Parameters:
    """The same colours, no geometry."""
    return Parameters((SIDE, SIDE), WHOLE, SIDE, jitter=p.jitter, gray=p.gray, blur=p.blur, solarize=p.solarize)


WAYS = [tensors._image_by_image, tensors._step_by_step]


@pytest.mark.parametrize("way", WAYS)
def test_whole_views_of_the_same_crops_are_pillows(way) -> None:
    images, parameters = noise(60), drawn(60)
    crops = [pillow.resized_crop(image, p.crop, SIDE) for image, p in zip(images, parameters, strict=True)]
    ours = way(packed.from_bytes(stacked(crops)), tensors.colours_of(parameters, 2.0), False)
    theirs = [pillow.augmented(crop, unmoved(p)) for crop, p in zip(crops, parameters, strict=True)]
    assert torch.equal(colours(ours), colours(packed.from_bytes(stacked(theirs))))


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_with_nothing_to_do_stays_as_it_is(way) -> None:
    crops = packed.from_bytes(stacked(noise(3)))
    assert torch.equal(
        way(crops, tensors.colours_of([unmoved(Parameters((SIDE, SIDE), WHOLE, SIDE))] * 3, 2.0), False), crops
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_crops_stay_as_they_are(way) -> None:
    crops = packed.from_bytes(stacked(noise(8)))
    before = crops.clone()
    way(crops, tensors.colours_of(drawn(8), 2.0), False)
    assert torch.equal(crops, before)


def smooth(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_crops_are_pillows_to_a_level() -> None:
    """Both weigh with triangles cut to 8 or more bits, each with a rounding of its own."""
    image = smooth(160, 120)
    pixels = torch.from_numpy(np.array(image.convert("RGBX")))
    worst, differences = 0, []
    for p in drawn(40, image.size):
        out = torch.empty(SIDE, SIDE, 4, dtype=torch.uint8)
        tensors.resized_crop(pixels, p, out)
        theirs = pillow.resized_crop(image, p.crop, p.output)
        for axis, wanted in ((0, p.flip), (1, p.vertical_flip)):
            theirs = theirs.transpose(Image.Transpose(axis)) if wanted else theirs
        difference = (out[..., :3].int() - torch.from_numpy(np.array(theirs)).int()).abs()
        worst, differences = max(worst, int(difference.max())), [*differences, difference.float().mean()]
    assert worst <= 1 and torch.stack(differences).mean() < 0.5


def test_both_executors_normalise_alike() -> None:
    crops, mean, std = stacked(noise(6)), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalise = Normalise(mean, std, torch.device("cpu"))
    ours = tensors.normalised(packed.from_bytes(crops), normalise.mean, normalise.std)
    assert torch.equal(ours, normalise(crops[..., :3].permute(0, 3, 1, 2)))
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_compiled_is_the_same_for_any_number_of_rows() -> None:
    for count in (60, 7, 1):
        crops, todo = packed.from_bytes(stacked(noise(count))), tensors.colours_of(drawn(count), 2.0)
        for way in WAYS:
            assert torch.equal(colours(way(crops, todo, True)), colours(way(crops, todo, False)))


@pytest.mark.slow
def test_compiled_normalising_is_the_same() -> None:
    """Every level of every channel: the two divisions may become no products."""
    levels = torch.arange(256, dtype=torch.int32).view(1, 16, 16) * 0x010101
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    compiled = tensors.normalised(levels, mean, std, compiled=True)
    assert torch.equal(compiled, tensors.normalised(levels, mean, std))
    assert compiled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", list(packed.OPERATIONS))
def test_a_gpu_has_the_same_results(name: str, compiled: bool) -> None:
    """Its divisions and fused multiply-adds round as they like: every operation on noise of all strengths."""
    pixels = packed.from_bytes(stacked(noise(32)))
    strength = {"hue": 12.0, "blur": 1.3}.get(name, 0.7)
    colours_left = tensors.in_order([(name, list(range(32)), [strength] * 32)], 2.0)
    here, there = (tensors.apply(pixels.to(device), colours_left, compiled).cpu() for device in ("cpu", "cuda"))
    assert torch.equal(colours(here), colours(there))
