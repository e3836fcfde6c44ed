"""The reference executor: a view's parameters applied to a Pillow image, bit for bit as torchvision's operations."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageFilter
from PIL.Image import Resampling, Transpose
from torch import Tensor

from lewel.data.augment import Parameters

SOLARIZE_THRESHOLD = 128
THIN = 32  # times as long as it is wide: from there on the view is made from a part of the image


def apply(image: Image.Image, parameters: Parameters) -> UInt8[Tensor, "3 h w"]:
    """Make the view of an RGB image that `parameters` describe. The image stays as it is."""
    return to_tensor(augmented(image, parameters))


def augmented(image: Image.Image, parameters: Parameters) -> Image.Image:
    """As `apply`, as a Pillow image. rotate, crop and resize, mirror, colours, gray, blur, solarize: in this order."""
    image = resized_crop(rotated(image, parameters.rotation), parameters.crop, parameters.output)
    if parameters.flip:
        image = image.transpose(Transpose.FLIP_LEFT_RIGHT)
    if parameters.vertical_flip:
        image = image.transpose(Transpose.FLIP_TOP_BOTTOM)
    for operation, strength in parameters.jitter:
        image = JITTER[operation](image, strength)
    if parameters.gray:
        image = grayscale(image)
    if parameters.blur > 0:
        image = image.filter(ImageFilter.GaussianBlur(parameters.blur))
    if parameters.solarize:
        image = solarize(image)
    return image


def to_tensor(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """The pixels, channels first in shape but last in memory, as Pillow has them."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def rotated(image: Image.Image, degrees: float) -> Image.Image:
    """Turn counter-clockwise about the centre, bilinear; the size stays, the corners become black."""
    return image if degrees == 0 else image.rotate(degrees, Resampling.BILINEAR)


def resized_crop(image: Image.Image, crop: tuple[int, int, int, int], side: int) -> Image.Image:
    """Crop (left, top, width, height), then resize to `side` x `side`, bilinear with antialiasing.

    Two steps, because `resize(box=...)` would mix in pixels from outside the crop.
    """
    left, top, width, height = crop
    return image.crop((left, top, left + width, top + height)).resize((side, side), Resampling.BILINEAR)


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with black."""
    return Image.blend(Image.new("RGB", image.size), image, factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the image's mean gray."""
    mean = int(np.asarray(image.convert("L")).mean(dtype=np.float64) + 0.5)
    return Image.blend(Image.new("RGB", image.size, (mean, mean, mean)), image, factor)


def saturation(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the gray image."""
    return Image.blend(grayscale(image), image, factor)


def hue(image: Image.Image, shift: float) -> Image.Image:
    """Turn the hue by a share of the circle in [-0.5, 0.5], through 8-bit HSV."""
    steps = int(shift * 255)  # towards zero, as a cast does
    values = np.array(image.convert("HSV"))
    values[..., 0] += np.uint8(steps % 256)
    return Image.frombytes("HSV", image.size, values.tobytes()).convert("RGB")


def solarize(image: Image.Image) -> Image.Image:
    """Invert the values from `SOLARIZE_THRESHOLD` on. Pillow's table takes longer to build than to use."""
    values = np.asarray(image)
    return Image.fromarray(np.where(values < SOLARIZE_THRESHOLD, values, 255 - values))


def grayscale(image: Image.Image) -> Image.Image:
    """Luma in all three channels."""
    return image.convert("L").convert("RGB")


JITTER = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}


def resized_center(image: Image.Image, size: int) -> Image.Image:
    """The view for evaluation: resize the shorter side, then the central `size` x `size` pixels.

    The shorter side goes to size * 256 / 224 as for ImageNet; up to 64 px straight to `size`, because such data sets
    have no margin to give away, and an image that is `size` x `size` already stays as it is.
    """
    short = size if size <= 64 else round(size * 256 / 224)
    width, height = image.size
    scaled = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if max(scaled) > THIN * min(scaled):
        return _center_of_thin(image, scaled, size)
    if min(width, height) != short:
        image = image.resize(scaled, Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _center_of_thin(image: Image.Image, scaled: tuple[int, int], size: int) -> Image.Image:
    """The same pixels, but for rounding, without the whole of the scaled image, of which a strip can be gigabytes.

    The source is cut to what the view and the filter's reach need, so that the numbers stay small.
    """
    boxes = []
    for full, target in zip(image.size, scaled, strict=True):
        step, first = full / target, round((target - size) / 2)
        reach = max(step, 1.0) + 1
        start = max(0, int(first * step - reach))
        end = min(full, math.ceil((first + size) * step + reach))
        boxes.append((start, end, first * step - start, (first + size) * step - start))
    (left, right, x0, x1), (top, bottom, y0, y1) = boxes
    part = image.crop((left, top, right, bottom))
    return part.resize((size, size), Resampling.BILINEAR, (x0, y0, min(x1, part.width), min(y1, part.height)))
