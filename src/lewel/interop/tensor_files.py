"""Read weights files: tensors and plain containers only. No code from a file is ever run.

A `.pth` file may also hold settings: an `argparse.Namespace`, a config of OmegaConf, a NumPy scalar. Plain stand-ins
take their places, their own classes are not imported; every other class or function in a file is refused by name.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from lewel import reading
from lewel.errors import UserError

_SETTINGS = re.compile(
    r"argparse\.Namespace|pathlib(\._local)?\.\w*Path|_codecs\.encode|collections\.(defaultdict|Counter)"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|dtype|ndarray|dtypes\.\w+)"
    r"|(omegaconf|yacs|addict|easydict|ml_collections)\.[\w.]+|(mmengine|mmcv)\.[\w.]*Config\w*"
    r"|(pytorch_lightning|lightning|lightning_fabric)\.[\w.]*(AttributeDict|Enum|StrategyType)"
    r"|builtins\.(bool|complex|dict|float|int|list|set|slice|str|tuple)"
)
_UNKNOWN_GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global")
_MOST_SETTINGS = 64  # kinds of them in one file


class _Setting:
    """Stand-in for a NumPy scalar, type or array: takes what the file gives it and keeps nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Settings:
    """Stand-in for an object with fields or items, whatever its class: what is made is a plain dict of them.

    torch lets a file fill an OrderedDict in both ways.
    """

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


def read(path: Path) -> Mapping[Any, Any]:
    """The content of a .safetensors or .pth file, its tensors on the CPU.

    Raises UserError: no regular file, a damaged one, TorchScript, torch's first format, or one that needs code.
    """
    try:
        with reading.open_regular(path) as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reading.first_line(error)}; give a whole file of weights") from error
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _safetensors(path)
    if wrong := _other_kind(head, path):
        raise UserError(f"{path} {wrong}")
    return unpickled(path)


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read: {reading.first_line(error)}; give a whole .safetensors file"
        ) from error


def unpickled(path: Path) -> Mapping[Any, Any]:
    """The content of a .pth file. Raises UserError."""
    try:
        content = _loaded(path)
    except pickle.UnpicklingError as error:
        raise UserError(_not_tensors_alone(path, str(error))) from error
    except Exception as error:  # of a damaged file, any
        raise UserError(f"{path} cannot be read: {_torchs_reason(error)}; give a whole file") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict (names and tensors)")
    return content


def _loaded(path: Path) -> Any:
    """torch.load with weights_only, again for each kind of settings that it meets."""
    settings: dict[str, type] = {}
    for _ in range(_MOST_SETTINGS):
        try:
            stand_ins: list[Any] = [(kind, name) for name, kind in settings.items()]
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = _UNKNOWN_GLOBAL.search(str(error))
            name = "" if found is None else found[1] if "." in found[1] else f"builtins.{found[1]}"
            if name in settings or not _SETTINGS.fullmatch(name):
                raise
            settings[name] = type("StandIn", (_Setting if name.startswith("numpy.") else _Settings,), {})
    raise pickle.UnpicklingError(f"more than {_MOST_SETTINGS} kinds of settings")


def _other_kind(head: bytes, path: Path) -> str:
    """What the file is, and what to do, where torch.load would only say how to run what is in it."""
    if head.startswith(b"version https://git-lfs"):
        return "is Git LFS's pointer to the weights, not the weights: git lfs pull fetches them"
    if head[257:262] == b"ustar":
        return (
            "is a tar file, maybe of a torch before 0.4; give the weights file inside it, or save its state dict "
            "again: torch.save(state_dict, FILE)"
        )
    if zipfile.is_zipfile(path):
        if any(name.endswith("/constants.pkl") for name in _members(path)):
            return (
                "is a TorchScript archive, which holds code; save the state dict of the model that it was made from: "
                "torch.save(model.state_dict(), FILE)"
            )
    elif head[:1] != b"\x80":
        return "cannot be read: it is neither a .safetensors file nor one of torch.save; give a whole file"
    return ""


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # of a damaged archive, any: torch.load will say so
        return []


def _not_tensors_alone(path: Path, torchs: str) -> str:
    name = _UNKNOWN_GLOBAL.search(torchs)
    holds = f"it holds {name[1]}, and " if name else ""
    return (
        f"{path} is not made of tensors alone: {holds}code from a file is never run; save its state dict by itself, "
        "best as .safetensors"
    )


def _torchs_reason(error: Exception) -> str:
    """Without torch's advice on how to run what is in the file."""
    text = reading.first_line(error)
    return type(error).__name__ if "weights_only" in text else text
