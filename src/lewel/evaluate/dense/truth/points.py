"""Faces with the points that people have marked in them: 68 as 300W has them, or any other number.

x and y in pixels of the image; its first pixel is from 0 0 to 1 1, as for boxes (`pts` has the files' own numbers).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from PIL import Image

from lewel.data.decode import DecodeError, decode, first_few, size
from lewel.errors import UserError
from lewel.evaluate.dense.truth import pts
from lewel.evaluate.dense.truth.face_lists import FULL, Part, listed
from lewel.evaluate.dense.truth.objects import first_skipped
from lewel.shapes import Skip
from lewel.terminal import printable

EYE_CORNERS = {68: (36, 45)}  # the outer ones: the right eye's, which is left in the image, and the left eye's
FAR = 0.1  # share of the image's longer side that a point may lie beyond the border before it is told
_THREADS = 8  # they wait for a disk


class Face(NamedTuple):
    """One image, and its points."""

    image: Image.Image
    points: Float64[np.ndarray, "k 2"]


@dataclass(frozen=True, eq=False)
class Landmarked:
    """n faces with k points each.

    names: of the images, relative to the root.  points: NaN where they are hidden: neither learned nor measured.
    subsets: which faces belong to each; `FULL` has all.
    skipped: faces that are left out, and why.  outside: those with points far beyond their image's border.
    expected: faces by subset, where the data set is known.
    """

    root: Path
    split: str
    names: tuple[str, ...]
    points: Float64[np.ndarray, "n k 2"]
    subsets: dict[str, Bool[np.ndarray, " n"]]
    skipped: tuple[Skip, ...]
    outside: tuple[str, ...]
    expected: dict[str, int]

    def __len__(self) -> int:
        return len(self.names)

    def image_file(self, index: int) -> Path:
        return self.root / self.names[index]

    def path(self, index: int) -> str:
        """A printable name of the image."""
        return printable(self.image_file(index))

    def image(self, index: int) -> Image.Image:
        """RGB. Raises DecodeError."""
        return decode(self.image_file(index))

    def read(self, index: int) -> Face:
        """The image and its points. Raises DecodeError."""
        return Face(self.image(index), self.points[index])

    def subset(self, indices: Int[np.ndarray, " m"]) -> Landmarked:
        """Those faces, in that order; they are not expected to be all."""
        members = {name: inside[indices] for name, inside in self.subsets.items()}
        names = tuple(self.names[index] for index in indices)
        return replace(self, names=names, points=self.points[indices], subsets=members, expected={})

    @cached_property
    def hidden(self) -> Bool[np.ndarray, "n k"]:
        """Which points nobody could see."""
        return np.asarray(np.isnan(self.points).any(axis=2))

    @cached_property
    def digest(self) -> str:
        """sha256 of the names, the points and the subsets."""
        found = hashlib.sha256("\0".join(self.names).encode(errors="surrogateescape"))
        found.update(repr(self.points.shape).encode() + self.points.astype("<f8").tobytes())
        for name, members in sorted(self.subsets.items()):
            found.update(name.encode(errors="surrogateescape") + np.packbits(members).tobytes())
        return found.hexdigest()

    def facts(self) -> dict[str, Any]:
        """What results.json says of them."""
        return {
            "from": printable(self.root),
            "split": self.split,
            "images": len(self),
            "points": self.points.shape[1],
            "normalised_by": normaliser(self.points.shape[1]),
            "subsets": {name: int(members.sum()) for name, members in self.subsets.items()},
            "skipped": len(self.skipped),
            "left_out": [skip._asdict() for skip in self.skipped],
            "far_outside": len(self.outside),
            "hidden_points": int(self.hidden.sum()),
            "digest": self.digest,
        }

    def warnings(self) -> Iterator[str]:
        """Sentences for the user, where faces are left out, or are not what they should be."""
        if self.skipped:
            yield f"{self.split}: {len(self.skipped)} faces skipped: {first_skipped(self.skipped)}"
        if self.outside:
            yield f"{self.split}: {len(self.outside)} faces have points far outside: {first_few(self.outside)}"
        if faces := int(self.hidden.any(axis=1).sum()):
            yield (
                f"{self.split}: {int(self.hidden.sum()):,} points of {faces:,} faces are hidden (-1 -1, 0 0 or nan): "
                "left out of the loss and of the errors"
            )
        for name, count in self.expected.items():
            there = int(self.subsets[name].sum()) if name in self.subsets else 0
            if there != count:
                of = self.split if name == FULL else name
                yield f"{self.split}: {count:,} faces are in 300W's {of}, here are {there:,}"


def open_landmarks(root: Path, part: Part) -> Landmarked:
    """The faces of a part of whatever layout lies at `root`: see `face_lists`.

    Faces are left out and listed: without image or points, with points that are infinite, are all hidden or outside the
    image, or are not as many as most others have; and those that cannot be measured, as the eyes' corners coincide or
    are hidden.
    Raises UserError for a part that is missing, empty, or has no usable face.
    """
    found = listed(root, part)
    with ThreadPoolExecutor(_THREADS) as pool:
        read = list(pool.map(partial(_read, root), found.names))
    counts = Counter(len(each.points) for each in read if isinstance(each, _Marked))
    k = max(counts, key=lambda count: (counts[count], count), default=0)
    kept, skipped = list[tuple[str, _Marked]](), list(found.skipped)
    for name, each in zip(found.names, read, strict=True):
        if isinstance(each, Skip):
            skipped.append(each)
        elif why := _fault(each, k):
            skipped.append(Skip(printable(_pts(root, name)), why))
        else:
            kept.append((name, each))
    if not kept:
        raise UserError(
            f"--data {printable(root)}: of the {len(found.names)} faces of {found.split} none can be used; "
            f"{skipped[0].path}: {skipped[0].reason}"
        )
    names = tuple(name for name, _ in kept)
    subsets = {FULL: np.ones(len(names), bool)}
    for subset, members in found.subsets.items():
        if (inside := np.array([name in members for name in names])).any():
            subsets[subset] = inside
    outside = tuple(name for name, each in kept if _reach(each) > FAR * max(each.size))
    points = np.stack([each.points for _, each in kept])
    return Landmarked(root, found.split, names, points, subsets, tuple(skipped), outside, found.expected)


def check_same_points(train: Landmarked, val: Landmarked) -> None:
    """Raises UserError where a part has other points than the other."""
    of_train, of_val = train.points.shape[1], val.points.shape[1]
    if of_train != of_val:
        raise UserError(
            f"--data: the faces of {train.split} have {of_train} points, those of {val.split} {of_val}; "
            "both need the same"
        )


def normaliser(points: int) -> str:
    """What errors are divided by, for faces with so many points."""
    return "distance of the outer eye corners" if points in EYE_CORNERS else "diagonal of the points' box"


def distances(points: Float[np.ndarray, "n k 2"]) -> Float64[np.ndarray, " n"]:
    """What the errors of each face are divided by, in pixels: see `normaliser`. NaN where an eye's corner is hidden."""
    if corners := EYE_CORNERS.get(points.shape[1]):
        across = points[:, corners[0]] - points[:, corners[1]]
    else:
        across = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    return np.linalg.norm(across.astype(np.float64), axis=1)


class _Marked(NamedTuple):
    """size: of the image, (width, height)."""

    points: np.ndarray
    size: tuple[int, int]


def _read(root: Path, name: str) -> _Marked | Skip:
    file = _pts(root, name)
    try:
        return _Marked(pts.read(file), size(root / name))
    except DecodeError as error:
        return Skip(printable(error.path), error.reason)
    except UserError as error:
        return Skip(printable(file), str(error).removeprefix(f"--data: {printable(file)}").lstrip(" :"))


def _pts(root: Path, name: str) -> Path:
    stem = os.path.splitext(name)[0]
    file, upper = (root / f"{stem}{suffix}" for suffix in (pts.SUFFIX, pts.SUFFIX.upper()))
    return upper if upper.exists() and not file.exists() else file


def _fault(face: _Marked, count: int) -> str | None:
    """Why a face cannot be used where most have `count` points; None where it can."""
    if len(face.points) != count:
        return f"has {len(face.points)} points, most others {count}"
    if count == 0 or np.isinf(face.points).any():
        return "has points that are infinite" if count else "has no points"
    seen = face.points[~np.isnan(face.points).any(axis=1)]
    if not len(seen):
        return "all points are hidden"
    if not ((seen >= 0) & (seen <= np.array(face.size))).all(axis=1).any():
        return f"all points are outside the image, {face.size[0]} x {face.size[1]}"
    if not (across := distances(face.points[None])[0]) > 0:
        return f"the {normaliser(count)} is {'hidden' if np.isnan(across) else '0'}"
    return None


def _reach(face: _Marked) -> float:
    """Pixels that the points reach beyond the image's border, at most."""
    return float(np.nanmax(np.maximum(-face.points, face.points - np.array(face.size))))
