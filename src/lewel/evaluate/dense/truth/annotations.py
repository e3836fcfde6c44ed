"""The images of a data set with their objects, in a few arrays.

As Python's own, COCO's 860,000 objects take 3 GB, and a worker that looks at them copies a quarter of a gigabyte, page
by page, from the process that it was forked from.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from lewel.data.names import Names, starts
from lewel.evaluate.dense.truth import outlines
from lewel.evaluate.dense.truth.objects import Annotated, first_skipped
from lewel.shapes import Skip

_COLUMNS = {"boxes": "<f8", "labels": "<i8", "crowd": "?", "difficult": "?", "areas": "<f8"}


@dataclass(frozen=True, eq=False)
class Images:
    """n images with m objects together, each an `Annotated` that is made when it is asked for.

    sizes: (width, height).  first: the number of each image's first object, and m.
    words, first_words: the objects' outlines, one after the other, and where each begins; none where there are none.
    """

    names: Names
    paths: Names
    sizes: Int64[np.ndarray, "n 2"]
    first: Int64[np.ndarray, " n+1"]
    boxes: Float64[np.ndarray, "m 4"]
    labels: Int64[np.ndarray, " m"]
    crowd: Bool[np.ndarray, " m"]
    difficult: Bool[np.ndarray, " m"]
    areas: Float64[np.ndarray, " m"]
    words: Int64[np.ndarray, " w"] | None
    first_words: Int64[np.ndarray, " m+1"] | None

    @classmethod
    def of(cls, images: Iterable[Annotated]) -> Images:
        """Each is let go before the next is taken. Outlines: all have them, or none."""
        names, paths, sizes, counts = list[str](), list[str](), array("q"), array("q")
        parts = {name: bytearray() for name in _COLUMNS}
        words, lengths, outlined = bytearray(), array("q"), set[bool]()
        for image in images:
            names.append(image.name)
            paths.append(str(image.path))
            sizes.extend(image.size)
            counts.append(len(image))
            outlined.add(image.outlines is not None)
            for name, kind in _COLUMNS.items():
                parts[name] += getattr(image, name).astype(kind).tobytes()
            for outline in image.outlines or ():
                found = outlines.as_words(outline)
                lengths.append(len(found))
                words += found.tobytes()
        assert len(outlined) < 2, "outlines of some images only"
        arrays = {name: np.frombuffer(parts[name], kind) for name, kind in _COLUMNS.items()}
        return cls(
            Names.of(names),
            Names.of(paths),
            np.frombuffer(sizes, np.int64).reshape(-1, 2),
            starts(np.frombuffer(counts, np.int64)),
            arrays.pop("boxes").reshape(-1, 4),
            **arrays,
            words=np.frombuffer(words, np.int64) if True in outlined else None,
            first_words=starts(np.frombuffer(lengths, np.int64)) if True in outlined else None,
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Annotated:
        index = range(len(self))[index]
        begin, end = self.first[index : index + 2].tolist()
        width, height = self.sizes[index].tolist()
        return Annotated(
            self.names[index],
            Path(self.paths[index]),
            (width, height),
            **{name: getattr(self, name)[begin:end] for name in _COLUMNS},
            outlines=self._outlines(begin, end),
        )

    def __iter__(self) -> Iterator[Annotated]:
        return (self[index] for index in range(len(self)))

    def digest(self) -> str:
        """sha256 of all but the paths and areas."""
        found = hashlib.sha256(self.names.digest().encode())
        for name in ("sizes", "first", "boxes", "labels", "crowd", "difficult", "words", "first_words"):
            found.update(b"" if (values := getattr(self, name)) is None else values.tobytes())
        return found.hexdigest()

    def take(self, indices: Int[np.ndarray, " k"]) -> Images:
        """Those images, in that order."""
        if np.array_equal(indices, np.arange(len(self))):
            return self
        return Images.of(self[index] for index in indices.tolist())

    def _outlines(self, begin: int, end: int) -> tuple[outlines.Outline, ...] | None:
        if self.words is None or self.first_words is None:
            return None
        borders = self.first_words[begin : end + 1].tolist()
        return tuple(outlines.from_words(self.words[a:b]) for a, b in pairwise(borders))


@dataclass(frozen=True, eq=False)
class Annotations:
    """A part of a data set.

    root, split: where it was read from.
    classes: names.  skipped: objects, and polygons of objects, that are left out, and why.
    clipped: boxes that reached more than `objects.REACH` beyond their image.
    remarks: sentences on what else was changed or found, each with a count.
    """

    root: str
    split: str
    classes: tuple[str, ...]
    images: Images
    skipped: tuple[Skip, ...]
    clipped: int
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def image_file(self, index: int) -> Path:
        return Path(self.images.paths[index])

    @cached_property
    def counts(self) -> Int64[np.ndarray, " classes"]:
        """Objects of each class; crowds and difficult ones too."""
        return np.bincount(self.images.labels, minlength=len(self.classes)).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """sha256 of the names, sizes, boxes, labels, flags and outlines, and of the classes."""
        return hashlib.sha256(self.images.digest().encode() + Names.of(self.classes).digest().encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What results.json says of them."""
        return {
            "from": self.root,
            "split": self.split,
            "images": len(self),
            "without_objects": int((np.diff(self.images.first) == 0).sum()),
            "objects": int(self.counts.sum()),
            "per_class": {"fewest": int(self.counts.min()), "most": int(self.counts.max())},
            "crowd": int(self.images.crowd.sum()),
            "difficult": int(self.images.difficult.sum()),
            "skipped": len(self.skipped),
            "left_out": [skip._asdict() for skip in self.skipped],
            "clipped_boxes": self.clipped,
            "remarks": list(self.remarks),
            "digest": self.digest,
        }

    def subset(self, indices: Int[np.ndarray, " k"]) -> Annotations:
        """Those images, in that order. What was left out or cut is told of the whole only."""
        return replace(self, images=self.images.take(indices), skipped=(), clipped=0, remarks=())

    def warnings(self) -> Iterator[str]:
        """Sentences for the user, where objects are left out or changed."""
        if self.skipped:
            yield f"{self.split}: {len(self.skipped)} objects, or parts of them, skipped: {first_skipped(self.skipped)}"
        if self.clipped:
            yield f"{self.split}: {self.clipped} boxes reach beyond their image and are cut at its border"
        yield from (f"{self.split}: {remark}" for remark in self.remarks)
