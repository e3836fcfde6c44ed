"""The names, labels and places of a data set's images in one file, opened without a look at the images' folder.

A safetensors file. Of each part ("train" and "val", or "images" where the data is not divided):

    PART.names, PART.names.starts        as in `Names`
    PART.labels                          (n,) int64, where there are labels; PART.classes, PART.classes.starts
    PART.shards, PART.shards.starts      where the images lie in shards: `Layout`; with
    PART.totals, .shard, .start, .size, .crc

Its one entry of metadata, "lewel_index", is JSON: the version, the sha256 of the whole file, and of each part the
digest of the names and the folder of the files (shards lie beside the index). A million names are 50 MB, mapped into
memory: opening takes the time of the sha256, 0.1 to 0.3 s. Version 1 had no sha256. All files are checked for
impossible numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from lewel import reading
from lewel.data import remote
from lewel.data.classes import why_none
from lewel.data.decode import printable
from lewel.data.folder import Files
from lewel.data.names import Names, from_os, to_os
from lewel.data.shards import Layout, Shards
from lewel.data.splits import Split
from lewel.errors import UserError

SUFFIX = ".safetensors"
OF_SHARDS = "shards.safetensors"  # its name in the shards' folder
VERSION = 2
_NO_DIGEST = "0" * 64  # in the digest's own place while it is taken
_KEY = "lewel_index"  # one key: safetensors writes several in any order
_TYPES = {"U8": np.uint8, "I32": np.int32, "U32": np.uint32, "I64": np.int64}

Parts = Mapping[str, Files | Shards]


def to_bytes(parts: Parts) -> bytes:
    """The index file of the parts: the same bytes for the same images."""
    tensors: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, str]] = {}
    for part, images in parts.items():
        tensors |= _named(f"{part}.names", images.names)
        if images.labels is not None and images.classes is not None:
            tensors |= {f"{part}.labels": images.labels} | _named(f"{part}.classes", Names.of(images.classes))
        if isinstance(images, Shards):
            layout = images.layout
            tensors |= _named(f"{part}.shards", layout.names)
            tensors |= {f"{part}.{name}": getattr(layout, name) for name in ("totals", "shard", "start", "size", "crc")}
        facts[part] = {"digest": images.digest(), "root": from_os(images.root) if isinstance(images, Files) else ""}
    content = save(tensors, {_KEY: json.dumps({"version": VERSION, "sha256": _NO_DIGEST, "parts": facts})})
    return content.replace(_NO_DIGEST.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def read(where: str) -> dict[str, Files | Shards]:
    """The parts of the index at a path or a URL. Whether the images are still there is not looked at.

    Raises UserError for a file that is no index, is cut short, or is of a newer version.
    """
    if remote.is_url(where):
        content = np.frombuffer(_downloaded(where, remote.sizes([where])[0]), np.uint8)
    else:
        try:
            reading.check_regular(Path(where))
            content = np.asarray(np.memmap(where, np.uint8, "r"))
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise UserError(f"--data {printable(where)} cannot be read: {reading.first_line(error)}") from error
    try:
        facts, tensors = _parsed(content)
        return {part: _part(where, part, fact, tensors) for part, fact in facts.items()}
    except _DamagedError as error:
        raise UserError(f"--data {printable(where)}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise UserError(
            f"--data {printable(where)} is not an index that `lewel data index` or `lewel data pack` made"
        ) from error


def open_part(where: str, split: Split | None) -> Files | Shards:
    """The part for training, or for validation, or all. Raises UserError where one is not there."""
    parts = read(where)
    if split is not None and split not in parts:
        raise UserError(f"--data {printable(where)} is not divided: it was made from images without train/ and val/")
    images = parts[split or next(iter(parts))]
    if isinstance(images, Shards):
        return images.check()
    if not Path(images.root).is_dir():
        raise UserError(
            f"--data {printable(where)} is an index of {printable(images.root)}, which is not there; "
            f"index the folder where it is now: lewel data index FOLDER --out {printable(where)}"
        )
    return images


class _DamagedError(Exception):
    """What is wrong with an index, and what to do."""


def _parsed(content: np.ndarray) -> tuple[dict[str, dict[str, str]], dict[str, np.ndarray]]:
    """The facts of each part, and all tensors: views of the content, nothing is copied."""
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    if not 8 < begin <= len(content):
        raise ValueError(begin)
    header: dict[str, Any] = json.loads(content[8:begin].tobytes())
    facts = json.loads(header.pop("__metadata__")[_KEY])
    if not isinstance(facts["version"], int) or facts["version"] < 1:
        raise ValueError(facts["version"])
    if facts["version"] > VERSION:
        raise _DamagedError(
            f"it has version {facts['version']}, this lewel reads {VERSION}; install a newer lewel, or make it again"
        )
    end = begin + max(entry["data_offsets"][1] for entry in header.values())
    if end != len(content):
        raise _DamagedError(f"it has {len(content)} bytes, not {end}; copy it again, or make it again")
    if facts["version"] > 1 and _digest(content, begin, facts["sha256"]) != facts["sha256"]:
        raise _DamagedError("it is not what was written (its sha256 differs); copy it again, or make it again")
    tensors = {}
    for name, entry in header.items():
        first, last = (begin + offset for offset in entry["data_offsets"])
        tensors[name] = content[first:last].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return facts["parts"], tensors


def _part(where: str, part: str, facts: dict[str, str], tensors: dict[str, np.ndarray]) -> Files | Shards:
    names = _names(f"{part}.names", tensors)
    if names.digest() != facts["digest"]:
        raise _DamagedError("its names are not those it was made with; copy it again, or make it again")
    _check(part, tensors)
    labels = classes = None
    if f"{part}.labels" in tensors:
        labels = tensors[f"{part}.labels"].copy()  # PyTorch wants arrays that could be written to
        classes = list(_names(f"{part}.classes", tensors))
        if why_none(classes):  # an older lewel took train/ and valid/ for classes
            labels = classes = None
    if f"{part}.shards" not in tensors:
        return Files(to_os(facts["root"]), names, labels, classes)
    plain = {name: tensors[f"{part}.{name}"] for name in ("totals", "shard", "start", "size", "crc")}
    folder = where.rpartition("/")[0] if remote.is_url(where) else str(Path(where).parent)
    return Shards(folder, names, Layout(names=_names(f"{part}.shards", tensors), **plain), labels, classes)


def _digest(content: np.ndarray, begin: int, own: str) -> str:
    """sha256 of the file with zeros in the digest's own place."""
    head = content[:begin].tobytes().replace(own.encode(), _NO_DIGEST.encode(), 1)
    found = hashlib.sha256(head)
    found.update(content[begin:].data)
    return found.hexdigest()


def _check(part: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Raises _DamagedError for numbers that no index holds."""
    lists = [f"{part}.{name}" for name in ("names", "classes", "shards") if f"{part}.{name}" in tensors]
    right = all(_rises(tensors[f"{name}.starts"], len(tensors[name])) for name in lists)
    count = len(tensors[f"{part}.names.starts"]) - 1
    if f"{part}.labels" in tensors:
        right &= _within(tensors[f"{part}.labels"], count, len(tensors[f"{part}.classes.starts"]) - 1)
    if f"{part}.shards" in tensors:
        shards = len(tensors[f"{part}.shards.starts"]) - 1
        right &= len(tensors[f"{part}.totals"]) == shards and _within(tensors[f"{part}.shard"], count, shards)
        right &= all(_within(tensors[f"{part}.{name}"], count, 2**62) for name in ("start", "size", "crc"))
    if not right:
        raise _DamagedError("its numbers are not those of an index; copy it again, or make it again")


def _rises(starts: np.ndarray, length: int) -> bool:
    """Whether names can begin there: from 0 to one behind the end of their bytes, or nowhere."""
    return (
        starts.ndim == 1
        and len(starts) > 0
        and starts[0] == 0
        and bool((np.diff(starts) > 0).all())
        and (int(starts[-1]) == length + 1 or len(starts) == 1)
    )


def _within(numbers: np.ndarray, count: int, end: int) -> bool:
    return numbers.shape == (count,) and (count == 0 or bool(numbers.min() >= 0 and numbers.max() < end))


def _named(name: str, names: Names) -> dict[str, np.ndarray]:
    return {name: names.blob, f"{name}.starts": names.starts}


def _names(name: str, tensors: dict[str, np.ndarray]) -> Names:
    return Names(tensors[name], tensors[f"{name}.starts"])


@lru_cache(1)
def _downloaded(url: str, _size: int | None) -> bytes:
    return remote.whole(url)  # once a run, not for each part
