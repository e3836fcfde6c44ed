"""`lewel bench executors`: how far the tensors' views are from Pillow's, operation by operation, on real images.

Both get the same pixels and the same parameters: each operation alone, on Pillow's crop, with the strengths that a
recipe draws; the crop alone; and the recipe's views from beginning to end, where what differs in the crop goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from lewel import config
from lewel.console import Console, Table, count_bar
from lewel.data import executor, packed, pillow, tensors
from lewel.data.augment import Parameters, sample
from lewel.data.images import Source

AT_ONCE = 32
ALONE = ("crop", *packed.OPERATIONS)


@dataclass(frozen=True)
class Difference:
    """Of all channels of all pixels of `images` images, in levels of 255. worst: 99.9 % differ by no more."""

    what: str
    images: int
    mean: float
    worst: int
    largest: int
    share: float  # of those that differ at all


def measure(images: Source, data: config.Data) -> list[Difference]:
    """As on the device that a run would use: a GPU where there is one, compiled where there is a compiler."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compiled = executor.choose("tensor", device).compiled
    whole = [f"view {number + 1}" for number in range(len(data.views))]
    counts = {what: torch.zeros(256, dtype=torch.int64) for what in (*ALONE, *whole)}
    starts = range(0, len(images), AT_ONCE)
    with count_bar(Console(stderr=True), transient=True) as bar:
        for first in bar.track(starts, description=f"batches of {AT_ONCE} images"):
            indices = range(first, min(first + AT_ONCE, len(images)))
            pictures = [images.read(index) for index in indices]
            for what, sources, parameters in _cases(data, pictures, indices, whole):
                theirs = [pillow.augmented(source, each) for source, each in zip(sources, parameters, strict=True)]
                ours = _ours(sources, parameters, device, compiled)
                difference = (ours - torch.stack([pillow.to_tensor(view) for view in theirs]).int()).abs()
                counts[what] += difference.flatten().bincount(minlength=256)
    return [_summary(what, len(images), histogram) for what, histogram in counts.items()]


def _cases(
    data: config.Data, pictures: Sequence[Image.Image], indices: Sequence[int], whole: Sequence[str]
) -> Iterator[tuple[str, list[Image.Image], list[Parameters]]]:
    """What is compared: its name, the images, and the parameters of each."""

    def drawn(view: config.View, number: int) -> list[Parameters]:
        pairs = zip(indices, pictures, strict=True)
        return [sample(view, image.size, data.image_size, 0, 0, index, number) for index, image in pairs]

    for number, view in enumerate(data.views):
        yield whole[number], list(pictures), drawn(view, number)
    every = drawn(replace(data.views[0], jitter_probability=1.0, gray=1.0, blur=1.0, solarize=1.0), 0)
    yield "crop", list(pictures), [Parameters(p.size, p.crop, p.output, flip=p.flip) for p in every]
    crops = [pillow.resized_crop(image, p.crop, p.output) for image, p in zip(pictures, every, strict=True)]
    for name in packed.OPERATIONS:
        if (alone := [_alone(name, p) for p in every])[0] is not None:
            yield name, crops, [p for p in alone if p is not None]


def _alone(name: str, p: Parameters) -> Parameters | None:
    """One operation of a view on its crop; None where the recipe never does it."""
    untouched = Parameters((p.output, p.output), (0, 0, p.output, p.output), p.output)
    if name in pillow.JITTER:
        jitter = tuple(each for each in p.jitter if each[0] == name)
        return replace(untouched, jitter=jitter) if jitter else None
    return replace(untouched, **{name: getattr(p, name)})


def _ours(
    images: Sequence[Image.Image], parameters: Sequence[Parameters], device: torch.device, compiled: bool
) -> Int[Tensor, "b 3 h w"]:
    side = parameters[0].output
    crops: UInt8[Tensor, "b h w 4"] = torch.empty(len(images), side, side, 4, dtype=torch.uint8)
    for image, each, out in zip(images, parameters, crops, strict=True):
        turned = pillow.rotated(image, each.rotation).convert("RGBX")
        if image.size == (side, side) and each.crop == (0, 0, side, side):
            out.copy_(torch.from_numpy(np.array(turned)))  # nothing to resize
        else:
            tensors.resized_crop(torch.from_numpy(np.array(turned)), each, out)
    largest = max(each.blur for each in parameters)
    colours = tensors.colours_of(parameters, largest)
    done = tensors.apply(packed.from_bytes(crops).to(device), colours, compiled)
    return torch.stack(packed.channels(done), dim=1).cpu()


def _summary(what: str, images: int, histogram: Tensor) -> Difference:
    total = int(histogram.sum())
    if total == 0:
        return Difference(what, 0, 0.0, 0, 0, 0.0)
    levels = torch.arange(256)
    return Difference(
        what,
        images,
        mean=float((histogram * levels).sum() / total),
        worst=int((histogram.cumsum(0) < 0.999 * total).sum()),
        largest=int(histogram.nonzero().max()),
        share=1 - int(histogram[0]) / total,
    )


def table(title: str, differences: Sequence[Difference]) -> Table:
    made = Table("", "images", "mean", "99.9 %", "largest", "differ", title=title, box=None, pad_edge=False)
    for each in differences:
        made.add_row(
            each.what, str(each.images), f"{each.mean:.4f}", str(each.worst), str(each.largest), f"{each.share:.2%}"
        )
    return made


def as_rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [asdict(each) for each in differences]
