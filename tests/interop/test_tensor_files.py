"""Weights files: what is in them is read, no code is run, and a refusal says what the file is and what to do."""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lewel.errors import UserError
from lewel.interop import tensor_files

STATE = {"weight": torch.arange(3.0)}


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_beside_the_tensors_do_not_hinder_reading(tmp_path: Path, zipped: bool) -> None:
    content: dict[str, Any] = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/x")),
        "best": np.float64(3.0),
        "counts": np.arange(3),
        "default": collections.defaultdict(list, {"a": [1]}),
    }
    if zipped:  # torch's older format knows no path
        content["args"].out = Path("/x")
    torch.save({"state_dict": STATE, **content}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = tensor_files.read(tmp_path / "a.pth")
    assert torch.equal(found["state_dict"]["weight"], STATE["weight"]) and list(found)[1:] == list(content)
    assert not isinstance(found["args"], argparse.Namespace)


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def tarred(path: Path) -> None:
    torch.save(STATE, path.with_name("storages"))
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("storages"), "storages")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (scripted, "is a TorchScript archive, which holds code; save the state dict"),
        (tarred, "is a tar file, maybe of a torch before 0.4; give the weights file inside it"),
        (
            lambda path: torch.save(nn.Linear(2, 2), path),
            "it holds torch.nn.modules.linear.Linear, and code from a file",
        ),
        (lambda path: torch.save({"a": Payload()}, path), "code from a file is never run; save its state dict"),
        (lambda path: torch.save([1], path), "holds a list, not a state dict"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n"), "Git LFS's pointer"),
        (lambda path: path.write_text("<html>\n<head>\n"), "neither a .safetensors file nor one of torch.save"),
        (lambda path: path.write_bytes(b""), "neither a .safetensors file nor one of torch.save"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "cannot be read"),
        (lambda path: path.write_bytes((9).to_bytes(8, "little") + b'{"a":[1]}'), "cannot be read"),
        (os.mkfifo, "it is not a regular file"),
        (os.mkdir, "it is not a regular file"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, monkeypatch, write, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        tensor_files.read(tmp_path / "a.pth")
    text = str(caught.value)
    assert said in text and "\n" not in text and "weights_only" not in text
    assert not Path("executed").exists()


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file(STATE, tmp_path / "pytorch_model.bin")
    assert torch.equal(tensor_files.read(tmp_path / "pytorch_model.bin")["weight"], STATE["weight"])
