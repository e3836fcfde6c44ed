"""`lewel embed`: features and paths in one file, and labels where there are; .npz or .parquet.

    features    (n, c) float32, pooled
    paths       n texts
    labels      n names of classes; missing where the images have none
    metadata    JSON: weights with their digest, data, size, precision, versions, unreadable images

Names are kept byte for byte: bytes that are not UTF-8 are lone surrogates, as in Python's own names of files, so that
`open(path)` finds the file. A column of .parquet that has such a name is of bytes, for `os.fsdecode`.

In .npz these are four arrays, and none is pickled: `numpy.load(FILE)` reads them as it is. In .parquet the first three
are columns, and the metadata stand in the schema's under the key "lewel".
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from lewel.config import Extraction
from lewel.console import Console
from lewel.data import remarks
from lewel.data.images import Source, is_divided, open_images
from lewel.data.names import as_bytes, is_utf8
from lewel.data.skips import first_skips
from lewel.engine import files
from lewel.errors import UserError, reason
from lewel.evaluate import features
from lewel.evaluate.subject import open_subject
from lewel.shapes import Skip
from lewel.terminal import say
from lewel.version import __version__

Split = Literal["train", "val", "all"]
KEY = "lewel"
ROWS = 8192  # of a parquet file's row group


@dataclass(frozen=True)
class FeatureTable:
    """Pooled features of n images, their paths, and the names of their classes where they have some.

    metadata: weights with their digest, data, size, precision, versions, unreadable images.
    """

    features: Float[np.ndarray, "n c"]
    paths: list[str]
    labels: list[str] | None
    metadata: Mapping[str, Any]


def embed(options: Extraction, out: Path | None, split: Split) -> FeatureTable:
    """Extract; with `out` write, and say what was written. On a UserError nothing is."""
    remarks.forget()
    write = None if out is None else _writer(out)
    console = Console(stderr=True)
    precision, workers = features.means(options)
    parts = _parts(options.data, split)
    for note in dict.fromkeys(note for images in parts for note in images.notes):
        console.print(note)
    subject = open_subject(options.weights)
    for note in subject.notes:
        console.print(f"{options.weights}: {note}")
    data = subject.data(options.image_size)
    network = subject.features.to(precision.device)
    kept, skipped = features.Kept(sum(map(len, parts)), torch.device("cpu")), list[Skip]()
    ends = []
    for images in parts:
        for rows in features.batches(network, images, data, precision, workers, skipped, console):
            kept.add(rows)
        ends.append(kept.count)
    found = kept.features().numpy()
    indices = np.split(kept.indices().numpy(), ends[:-1])
    metadata = {
        "weights": subject.facts(),
        "data": options.data,
        "split": split,
        "image_size": data.image_size,
        "precision": precision.name,
        "unreadable": [skip._asdict() for skip in skipped],
        "versions": {"lewel": __version__, **{name: importlib.metadata.version(name) for name in ("torch", "timm")}},
    }
    table = FeatureTable(found, _paths(parts, indices), _classes(parts, indices), metadata)
    if out is not None and write is not None:
        _replace(out, write, table)
        unread = f", {len(skipped)} unreadable images left out ({first_skips(skipped)})" if skipped else ""
        labels = "" if table.labels else ", no labels"
        say(f"wrote {out}: {found.shape[0]} x {found.shape[1]} features{labels}{unread}")
    return table


def _parts(data: str, split: Split) -> list[Source]:
    if is_divided(data):
        return [open_images(data, part) for part in ("train", "val") if split in (part, "all")]
    return [open_images(data, None if split == "all" else split)]


def _paths(parts: list[Source], indices: list[np.ndarray]) -> list[str]:
    return [images.path(int(i)) for images, some in zip(parts, indices, strict=True) for i in some]


def _classes(parts: list[Source], indices: list[np.ndarray]) -> list[str] | None:
    names = []
    for images, some in zip(parts, indices, strict=True):
        if images.labels is None or images.classes is None:
            return None
        names += [images.classes[label] for label in images.labels[some].tolist()]
    return names


# -- files


def _writer(out: Path) -> Callable[[Path, FeatureTable], None]:
    """Raises UserError, before any work, for what could not be written."""
    writers = {".npz": write_npz, ".parquet": write_parquet}
    if out.suffix.lower() not in writers:
        raise UserError(f"--out {out}: a name that ends in .npz or .parquet is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist")
    if out.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise UserError(f"--out {out}: pip install 'lewel[parquet]' brings pyarrow; or give FILE.npz") from error
    files.check_writable(out)
    return writers[out.suffix.lower()]


def _replace(out: Path, write: Callable[[Path, FeatureTable], None], table: FeatureTable) -> None:
    try:
        with files.replacing(out) as temporary:
            write(temporary, table)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"--out {out} not written ({reason(error)}); give another") from error


def write_npz(path: Path, table: FeatureTable) -> None:
    """The arrays one after the other, uncompressed; none is copied as a whole."""
    arrays: dict[str, Any] = {"features": table.features, "paths": np.array(table.paths)}
    if table.labels is not None:
        arrays["labels"] = np.array(table.labels)
    with open(path, "wb") as file:
        np.savez(file, metadata=np.array(json.dumps(table.metadata)), **arrays)


def write_parquet(path: Path, table: FeatureTable) -> None:
    """Row group by row group: features as lists of c floats."""
    import pyarrow
    from pyarrow import parquet

    width = table.features.shape[1]
    texts = {"paths": table.paths} | ({"labels": table.labels} if table.labels is not None else {})
    kinds = {
        name: pyarrow.string() if all(map(is_utf8, values)) else pyarrow.binary() for name, values in texts.items()
    }
    columns = [("features", pyarrow.list_(pyarrow.float32(), width)), *kinds.items()]
    schema = pyarrow.schema(columns, {KEY: json.dumps(table.metadata)})
    with parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, len(table.paths), ROWS):
            some = slice(first, first + ROWS)
            values = pyarrow.array(table.features[some].reshape(-1))
            found = [pyarrow.FixedSizeListArray.from_arrays(values, width)]
            found += [pyarrow.array(map(as_bytes, texts[name][some]), kind) for name, kind in kinds.items()]
            writer.write_table(pyarrow.table(found, schema=schema))
