"""The hostile files themselves, by the reader that they are for. The harm that each tries is a file named `MARK`."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

MARK = "executed"


class Payload:
    """Pickled, it makes the file."""

    def __init__(self, path: Path, how: str):
        self.path, self.how = str(path), how

    def __reduce__(self) -> Any:
        if self.how == "system":
            return os.system, (f"touch '{self.path}'",)
        if self.how == "open":
            return open, (self.path, "w")
        if self.how == "eval":
            return eval, (f"open({self.path!r}, 'w')",)
        return exec, (f"open({self.path!r}, 'w')",)


def weights(folder: Path) -> dict[str, Path]:
    """Checkpoints of others, with code in their pickles, or headers that claim too much."""
    import torch

    mark, found = folder / MARK, {}
    for how in ("system", "open", "eval", "exec"):
        payload = Payload(mark, how)
        for name, zipped in (("zip", True), ("legacy", False)):
            found[f"pickle, {how}, {name}"] = folder / f"{how}-{name}.pth"
            torch.save({"state_dict": {"a": torch.zeros(1)}, "x": payload}, found[f"pickle, {how}, {name}"],
                       _use_new_zipfile_serialization=zipped)  # fmt: skip
        for ending in ("pkl", "ckpt", "bin", "pt"):
            found[f"pickle, {how}, .{ending}"] = folder / f"{how}.{ending}"
            found[f"pickle, {how}, .{ending}"].write_bytes(pickle.dumps({"model": payload}))
    eight = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    huge = {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}
    headers = {
        "safetensors, header of 2^60 bytes": struct.pack("<Q", 1 << 60) + b"{}",
        "safetensors, tensor of 2^62 bytes": _safetensors(json.dumps({"a": huge})),
        "safetensors, overlapping tensors": _safetensors(json.dumps({"a": eight, "b": eight})) + bytes(8),
        "safetensors, negative offsets": _safetensors(json.dumps({"a": eight | {"data_offsets": [-8, 0]}})) + bytes(8),
        "safetensors, nested 100,000 deep": _safetensors("[" * 100_000),
    }
    for name, content in headers.items():
        found[name] = folder / f"{name[13:]}.safetensors".replace(" ", "_").replace("^", "")
        found[name].write_bytes(content)
    found["zip bomb"] = folder / "bomb.pth"
    with zipfile.ZipFile(found["zip bomb"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 29))
    found["zip with a path upwards"] = folder / "upwards.pth"
    with zipfile.ZipFile(found["zip with a path upwards"], "w") as archive:
        archive.writestr(f"../{MARK}", b"x")
    return found


def _safetensors(header: str) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode()


def images(folder: Path) -> dict[str, Path]:
    """Pictures that claim or unpack to more than memory."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def png(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(1 << 29)))
    contents = {
        "png, 100,000 x 100,000": png(100_000, 100_000),
        "png, 2^31 - 1 wide": png(2**31 - 1, 1),
        "png, bomb of pixels": png(30_000, 30_000, data=zlib.compress(bytes(90_030_000))),
        "png, bomb of text": png(8, 8, text, data=zlib.compress(bytes(200))),
        "gif, 65,535 x 65,535": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",",
        "svg with a script": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "postscript": f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({folder / MARK}) (w) file\n".encode(),
        "bmp, 2^31 - 1 high": b"BM" + struct.pack("<IHHIIiiHH6I", 54, 0, 0, 54, 40, 9, 2**31 - 1, 1, 24, *[0] * 6),
    }
    found = {}
    for number, (name, content) in enumerate(contents.items()):
        found[name] = folder / f"{number}.{'jpg' if name.startswith(('svg', 'post')) else name[:3]}"
        found[name].write_bytes(content)
    return found


def texts(folder: Path) -> dict[str, Path]:
    """YAML that names Python objects, XML with entities, JSON that nests."""
    mark = folder / MARK
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x"}">' for n in range(12))
    contents = {
        "yaml, python/object/apply": f"recipe: !!python/object/apply:os.system [\"touch '{mark}'\"]\n",
        "yaml, python/object/new": f"recipe: !!python/object/new:builtins.open ['{mark}', 'w']\n",
        "yaml, billion laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
        ),
        "yaml, nested 100,000 deep": "[" * 100_000,
        "xml, billion laughs": f"<?xml version='1.0'?><!DOCTYPE a [{entities}]><annotation>&e11;</annotation>",
        "xml, file of the system": "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"
        "<annotation><filename>&e;</filename></annotation>",
        "json, nested 100,000 deep": "[" * 100_000,
        "json, number of 10^6 digits": '{"images": [{"id": ' + "9" * 1_000_000 + "}]}",
    }  # fmt: skip
    found = {}
    for number, (name, content) in enumerate(contents.items()):
        found[name] = folder / f"{number}.{name.split(',')[0]}"
        found[name].write_text(content)
    return found


def shards(folder: Path) -> dict[str, Path]:
    """Arrays with pickles, and tar archives that want to be unpacked elsewhere."""
    import numpy as np

    found = {"npz with a pickle": folder / "predictions.npz", "tar with a path upwards": folder / "upwards.tar"}
    np.savez(found["npz with a pickle"], images=np.array([Payload(folder / MARK, "open")], object))
    with tarfile.open(found["tar with a path upwards"], "w") as archive:
        entry = tarfile.TarInfo(f"../{MARK}")
        archive.addfile(entry, io.BytesIO(b""))
    return found
