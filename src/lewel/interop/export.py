"""Encoders out to other tools, each file read back before it stands.

    --to           file            reader that it is checked by
    torchvision    .pth            torchvision's model with `fc = Identity()`, strict
    timm           .pth            timm.create_model(NAME, num_classes=0), strict
    detectron2     .pkl            a ResNet with detectron2's names (`lewel.interop.detectron2`), strict
    mmseg          .pth            torchvision's model, whose names are MMEngine's, strict
    safetensors    .safetensors    `lewel.load_encoder`'s
    onnx           .onnx           ONNX Runtime

The file appears at once, or not at all: when the reader's features of real images differ from the source's, none is
left. A file that is there is replaced only where `lewel export` wrote it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lewel.data import scenes
from lewel.data.images import evenly, open_images
from lewel.data.loader import evaluation_batches
from lewel.engine import files
from lewel.errors import UserError, nearest, reason
from lewel.interop import detectron2, mmseg, onnx, state_dicts
from lewel.interop.given import Features, Given, Read, open_given
from lewel.interop.sources import split_place

IMAGES = 8
TOLERANCE = 1e-4  # of the largest feature; other kernels round at 1e-6, a tensor in a wrong place changes all of it


@dataclass(frozen=True)
class Format:
    """to_bytes: raises UserError for networks that the format has not.   record: None for another's file."""

    ending: str
    to_bytes: Callable[[Given], bytes]
    read: Callable[[Path, Given], Read]
    record: Callable[[Path], dict[str, Any] | None]
    snippet: Callable[[Given, Path], str]
    config: Callable[[Given, Path], str] | None = None


FORMATS = {
    "torchvision": Format(
        ".pth",
        state_dicts.torchvision_bytes,
        state_dicts.torchvision_read,
        state_dicts.pth_record,
        state_dicts.torchvision_snippet,
    ),
    "timm": Format(
        ".pth", state_dicts.timm_bytes, state_dicts.timm_read, state_dicts.pth_record, state_dicts.timm_snippet
    ),
    "detectron2": Format(
        ".pkl", detectron2.to_bytes, detectron2.read, detectron2.record, detectron2.snippet, detectron2.config
    ),
    "mmseg": Format(".pth", mmseg.to_bytes, mmseg.read, state_dicts.pth_record, mmseg.snippet, mmseg.config),
    "safetensors": Format(
        ".safetensors",
        state_dicts.safetensors_bytes,
        state_dicts.safetensors_read,
        state_dicts.safetensors_record,
        state_dicts.safetensors_snippet,
    ),
    "onnx": Format(".onnx", onnx.to_bytes, onnx.read, onnx.record, onnx.snippet),
}


class Difference(NamedTuple):
    """Between one output of the reader's network and of the source's. scale: the source's largest, all absolute."""

    output: str  # "map" or "pooled"
    shape: tuple[int, ...]
    largest: float
    mean: float
    scale: float

    def __str__(self) -> str:
        return f"{self.output} {self.shape}: largest {self.largest:.2g}, mean {self.mean:.2g}, of {self.scale:.3g}"


class Exported(NamedTuple):
    """What was written, and how it was checked.

    tensors: of the source.   read: the file, as the format's reader has it.   config: lines for the tool, or "".
    snippet: Python that loads the file.
    """

    out: Path
    replaced: bool
    given: Given
    tensors: int
    read: Read
    images: str
    differences: tuple[Difference, ...]
    config: str
    snippet: str


def export(source: str | Path, to: str, out: str | Path, data: str | Path | None = None) -> Exported:
    """Write an encoder for another tool, and check it.

    source: a run, a file, timm:NAME=FILE, ... (`lewel.load_encoder`).   to: see the table above.
    data: images to compare the features on; by default scenes that lewel makes itself.
    Raises UserError, and leaves --out as it was: a format that has no such network, a file there that is another's, no
    images, tensors without a place, features that differ by more than `TOLERANCE` of the largest.
    """
    if not isinstance(to, str) or not all(isinstance(each, str | Path) for each in (source, out, data or "")):
        raise UserError("export takes a source of weights, the name of a format, a path to write, and a path of images")
    out = Path(out)
    if to not in FORMATS:
        raise UserError(f"--to {to}: one of {', '.join(FORMATS)} is needed{nearest(to, FORMATS)}")
    form = FORMATS[to]
    replaced = _check_out(out, form, source)
    given = open_given(str(source), to)
    pixels, which = _images(given, data)
    content = form.to_bytes(given)
    try:
        with files.replacing(out) as temporary:
            files.write_synced(temporary, content)
            read = form.read(temporary, given)
            differences = compare(given, read, pixels)
    except OSError as error:
        raise UserError(f"--out {out} not written ({reason(error)}); give another") from error
    config = form.config(given, out) if form.config is not None else ""
    tensors = len(given.backbone.state_dict())
    return Exported(out, replaced, given, tensors, read, which, differences, config, form.snippet(given, out))


def compare(given: Given, read: Read, pixels: Float[Tensor, "n 3 h w"]) -> tuple[Difference, ...]:
    """Of the images, and of the first alone; beside its mirror image where the file takes any size.

    Raises UserError for features that differ, or are not finite.
    """
    one = pixels[:1]
    other = torch.cat([one, one.flip(3)], dim=3) if read.any_size else one
    all_of_them = _differences(given.features(pixels), read.features(pixels))
    for each in (*all_of_them, *_differences(given.features(other), read.features(other))):
        if not each.largest <= TOLERANCE * each.scale:
            raise UserError(
                f"not exported: read back, the features differ, {each}; at most {TOLERANCE:g} of that is allowed, "
                "so the format cannot hold these weights: give other --weights, or another --to"
            )
    return all_of_them


def _differences(wanted: Features, found: Features) -> tuple[Difference, ...]:
    assert wanted.keys() == found.keys()
    rows = []
    for output, right in wanted.items():
        apart = (found[output] - right).abs()
        rows.append(
            Difference(output, tuple(right.shape), float(apart.max()), float(apart.mean()), float(right.abs().max()))
        )
    return tuple(rows)


def _images(given: Given, data: str | Path | None) -> tuple[Float[Tensor, "n 3 h w"], str]:
    """Up to `IMAGES` images as the network wants them, and which these are."""
    if data is not None:
        return _pixels(given, data), f"of {data}"
    with tempfile.TemporaryDirectory() as folder:
        made = scenes.make(Path(folder) / "scenes", IMAGES, 1, max(64, given.image_size))
        return _pixels(given, made), "made for it"


def _pixels(given: Given, data: str | Path) -> Float[Tensor, "n 3 h w"]:
    images = evenly(open_images(data), IMAGES)
    with closing(evaluation_batches(images, given.image_size, IMAGES, 0, given.mean, given.std)) as drawn:
        pixels = next(drawn).views[0].pixels
    if not len(pixels):
        raise UserError(f"--data {data}: none of {len(images)} images can be read; give others, or leave the flag out")
    return pixels


def _check_out(out: Path, form: Format, source: str | Path) -> bool:
    """Whether there is a file to replace. Raises UserError for what must not be."""
    if out.suffix.lower() != form.ending:
        raise UserError(f"--out {out}: a name that ends in {form.ending} is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; give a name for a file")
    if not out.exists():
        return False
    given, _ = split_place(str(source).rpartition("=")[2])
    if given.is_file() and out.samefile(given):
        raise UserError(f"--out {out} is the file of --weights; give another name")
    if form.record(out) is None:
        raise UserError(f"--out {out} is there and was not written by lewel export; give another name, or delete it")
    return True
