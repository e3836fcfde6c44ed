"""VOC's masks and SBD's as one: the 10,582 images of train_aug, on which segmentation is trained.

    OUT/SegmentationClassAug/NAME.png            palette PNG, 255 not counted; VOC's own mask where there is one
    OUT/ImageSets/Segmentation/trainaug.txt      all of them, written last
    OUT/ImageSets/Segmentation/{train,val,trainval}.txt   VOC's, copied
    OUT/JPEGImages, OUT/SegmentationClass        links to VOC's folders; nothing is written there

SBD (Hariharan et al. 2011) marks 11,355 images of VOC 2011, in benchmark_RELEASE/dataset/cls/NAME.mat. Those of VOC
2012's val are left out; the rest, together with VOC's train, are train_aug.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lewel.data import scenes
from lewel.data.decode import printable
from lewel.engine import files as disk
from lewel.errors import UserError
from lewel.evaluate.dense.truth import voc
from lewel.evaluate.dense.truth.masks import IGNORED, values

MASKS, LISTS = "SegmentationClassAug", "ImageSets/Segmentation"
LINKED = ("JPEGImages", "SegmentationClass")
COUNTS = {"train_aug": 10_582, "VOC train": 1_464, "VOC val": 1_449, "SBD": 11_355}
LOCK = ".lewel-voc-aug.lock"
CHUNK = 50  # masks a task of a worker
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Plan:
    """voc: a year's folder.  cls: SBD's masks.  own, theirs: images by whose mask is taken.  counts: as `COUNTS`."""

    voc: Path
    cls: Path
    own: tuple[str, ...]
    theirs: tuple[str, ...]
    counts: dict[str, int]

    @property
    def names(self) -> list[str]:
        """Of train_aug."""
        return sorted([*self.own, *self.theirs])


def plan(root: Path, sbd: Path) -> Plan:
    """Which masks come from where. Raises UserError where something is missing, scipy too."""
    _scipy_io()
    years = voc.years(root)
    folder = years.get("VOC2012", years[max(years)])
    train, val = (voc.names(folder, "Segmentation", split) for split in ("train", "val"))
    cls = next((path for path in _places(sbd) if path.is_dir()), None)
    if cls is None:
        raise UserError(f"--sbd {printable(sbd)} has no folder cls: give benchmark_RELEASE, or its dataset")
    theirs = sorted(path.stem for path in cls.glob("*.mat"))
    if not theirs:
        raise UserError(f"--sbd: {printable(cls)} has no .mat files")
    extra = sorted(set(theirs) - set(train) - set(val))
    counts = {"train_aug": len(train) + len(extra), "VOC train": len(train), "VOC val": len(val), "SBD": len(theirs)}
    return Plan(folder, cls, tuple(train), tuple(extra), counts)


def _places(sbd: Path) -> Iterator[Path]:
    for top in (sbd, sbd / "dataset", sbd / "benchmark_RELEASE" / "dataset"):
        yield top / "cls"


def told(counts: dict[str, int]) -> Iterator[str]:
    """Sentences for the user: what was found, and where the published sets have another number."""
    for name, count in counts.items():
        expected = "as published" if count == COUNTS[name] else f"where the published one has {COUNTS[name]:,}"
        yield f"{name}: {count:,} images, {expected}"


def write(plan: Plan, out: Path, workers: int, advance: Advance) -> int:
    """Write what is missing of train_aug; returns how many masks were. advance: told of masks written or found.

    A mask appears whole or not at all, and the list when all masks are there: the same call goes on after any stop.
    Raises UserError for folders that are not to be written to, and for masks that cannot be read or do not fit.
    """
    _check(plan, out)
    try:
        (out / MASKS).mkdir(parents=True, exist_ok=True)
        (out / LISTS).mkdir(parents=True, exist_ok=True)
        with disk.locked(out / LOCK) as free:
            if not free:
                raise UserError(f"--out {printable(out)} is in use by another process; wait for its end")
            return _write(plan, out, workers, advance)
    except OSError as error:
        raise UserError(f"--out {printable(out)} cannot be written: {error.strerror or error}; give another") from error


def _write(plan: Plan, out: Path, workers: int, advance: Advance) -> int:
    for name in LINKED:
        _link(plan.voc / name, out / name)
    for folder in (out / MASKS, out / LISTS):
        disk.clean(folder)
    there = {entry.name.removesuffix(".png") for entry in os.scandir(out / MASKS)}
    missing = [name for name in plan.names if name not in there]
    advance(len(plan.names) - len(missing))
    _make(plan, out, missing, workers, advance)
    for split in ("train", "val", "trainval"):
        if (source := plan.voc / LISTS / f"{split}.txt").is_file():
            disk.replace(out / LISTS / f"{split}.txt", source.read_bytes())
    disk.replace(out / LISTS / "trainaug.txt", "".join(f"{name}\n" for name in plan.names).encode())
    return len(missing)


def _check(plan: Plan, out: Path) -> None:
    inside = (plan.voc.resolve(), plan.cls.parent.resolve())
    if any(out.resolve() == folder or folder in out.resolve().parents for folder in inside):
        raise UserError(f"--out {printable(out)} lies in the data that are read; give a folder of its own")
    if out.is_file():
        raise UserError(f"--out {printable(out)} is a file; give a folder")
    ours = {MASKS, LISTS.split("/")[0], *LINKED}
    others = sorted(name for name in os.listdir(out) if name not in ours and name != LOCK) if out.is_dir() else []
    if others:
        raise UserError(f"--out {printable(out)} holds other things ({printable(others[0])}); give a new folder")
    names = set(plan.names)
    masks = sorted(os.listdir(out / MASKS)) if (out / MASKS).is_dir() else []
    if wrong := [name for name in masks if not name.startswith(".") and name.removesuffix(".png") not in names]:
        raise UserError(f"--out {printable(out)} holds masks of other data ({printable(wrong[0])}); give a new folder")


def _link(target: Path, link: Path) -> None:
    """A link to a folder; one that is there must be the same."""
    if link.is_symlink() and link.resolve() == target.resolve():
        return
    if link.exists() or link.is_symlink():
        raise UserError(f"--out: {printable(link)} is there and is no link to {printable(target)}; give a new folder")
    link.symlink_to(target.resolve(), target_is_directory=True)


def _make(plan: Plan, out: Path, missing: list[str], workers: int, advance: Advance) -> None:
    """On so many processes. The first mask that does not fit ends it."""
    own = set(plan.own)
    make = partial(_make_some, plan.voc, plan.cls, out / MASKS, own)
    chunks = [missing[first : first + CHUNK] for first in range(0, len(missing), CHUNK)]
    if workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            make(chunk)
            advance(len(chunk))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(make, chunk): len(chunk) for chunk in chunks}
        try:
            for task in as_completed(tasks):
                task.result()
                advance(tasks[task])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_some(root: Path, cls: Path, masks: Path, own: set[str], names: list[str]) -> None:
    for name in names:
        image = root / "JPEGImages" / f"{name}.jpg"
        source = root / "SegmentationClass" / f"{name}.png" if name in own else cls / f"{name}.mat"
        found = values(source) if name in own else from_mat(source)
        try:
            with Image.open(image) as opened:
                size = opened.size
        except OSError as error:
            raise UserError(f"{printable(image)} cannot be read: {error.strerror or error}") from error
        if found.shape != size[::-1]:
            raise UserError(
                f"{printable(source)} is {found.shape[1]} x {found.shape[0]}, its image {size[0]} x {size[1]}; a mask "
                "has its image's size"
            )
        allowed = len(voc.CLASSES)
        if wrong := [value for value in np.unique(found).tolist() if value > allowed and value != IGNORED]:
            raise UserError(f"{printable(source)} has the value {wrong[0]}; 0 to {allowed} are classes")
        disk.replace(masks / f"{name}.png", source.read_bytes() if name in own else scenes.png(found))


def from_mat(path: Path) -> UInt8[np.ndarray, "h w"]:
    """SBD's GTcls.Segmentation. Raises UserError for a file that cannot be read or has none."""
    try:
        content = _scipy_io().loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["GTcls"])
        found = np.asarray(content["GTcls"].Segmentation)
    except Exception as error:  # a damaged file raises anything
        raise UserError(f"{printable(path)} cannot be read: {' '.join(str(error).split())}") from error
    if found.ndim != 2 or found.min() < 0 or found.max() > 255:
        raise UserError(f"{printable(path)}: GTcls.Segmentation is no mask: {found.dtype} of shape {found.shape}")
    return found.astype(np.uint8)


def _scipy_io() -> ModuleType:
    """Raises UserError where scipy is missing."""
    try:
        from scipy import io
    except ImportError as error:
        raise UserError("SBD's .mat files need scipy: pip install 'lewel[voc]'") from error
    return io
