"""Images with their objects, as `loading` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64
from PIL import Image

from lewel.data.decode import printable
from lewel.evaluate.dense.truth.annotations import Annotations
from lewel.evaluate.dense.truth.objects import Annotated


@dataclass(frozen=True)
class Photographs:
    """All images of a part; those without objects too, which teach what is none (detectron2 leaves them out)."""

    annotations: Annotations

    def __len__(self) -> int:
        return len(self.annotations)

    def path(self, index: int) -> str:
        return printable(self.annotations.images.paths[index])

    def read(self, index: int) -> tuple[Image.Image, Annotated]:
        """RGB and its objects. Raises DecodeError, also for an image of another size than its annotations."""
        image = self.annotations.images[index]
        return image.image(), image

    @cached_property
    def kinds(self) -> Int64[np.ndarray, " n"]:
        """1 for images that are wider than high, 0 for others: batches of one kind are filled up less."""
        width, height = self.annotations.images.sizes.T
        return (width > height).astype(np.int64)
