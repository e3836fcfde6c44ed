"""Views of whole faces for training, by torchvision's operations: FRA's augmentation for expressions and attributes.

    resize to a square; flip 1/2; colours 0.5 at 1/2; move by up to 0.2 at 1/2; turn by up to 10 degrees at 1/2; erase

Each image's random numbers belong to (seed, step, image, and how often the step has had it already): torch's generator
is seeded with them, and then as it was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from lewel import config
from lewel.data.augment import VIEW, uniforms
from lewel.data.images import Images, fetched
from lewel.data.loader import as_drawn, readable
from lewel.data.serving import Drawn, Order, Views
from lewel.shapes import Skip


@dataclass
class FaceViews(Views):
    """From orders to whole faces, augmented.

    erase: a rectangle, with the mean colour, 8 bits a channel: 0 after normalisation but for rounding.
    """

    images: Images
    size: int
    mean: config.ImageStats
    seed: int
    erase: bool

    def __post_init__(self) -> None:
        colours = v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5)
        moved = v2.RandomAffine(degrees=0, translate=(0.2, 0.2))  # pyright: ignore[reportArgumentType]  # its stubs
        turned = v2.RandomRotation(degrees=10)  # pyright: ignore[reportArgumentType]  # want sequences, its code numbers
        fill = [round(255 * value) for value in self.mean]
        steps = [v2.RandomHorizontalFlip(), *(v2.RandomApply([each]) for each in (colours, moved, turned))]
        last = [v2.RandomErasing(value=fill)] if self.erase else []  # pyright: ignore[reportArgumentType]
        self.transform = v2.Compose([*steps, v2.PILToTensor(), *last])

    def __getitem__(self, order: Order) -> Drawn:
        step, indices = order
        seen, skipped, faces = list[int](), list[Skip](), list[np.ndarray]()
        images, times = fetched(self.images, indices), Counter[int]()
        for index in indices:
            found, image = readable(images.read, len(images), self.seed, step, index, skipped)
            seen.append(found)
            face = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
            faces.append(self._view(face, uniforms(1, VIEW, self.seed, step, index, times[index])[0]))
            times[index] += 1
        return as_drawn(np.stack(faces)[None], seen, skipped)

    def _view(self, face: Image.Image, chance: float) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(chance * 2**53))  # the GPU's stay as they are
            return self.transform(face).permute(1, 2, 0).numpy()
