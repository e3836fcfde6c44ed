"""Checkpoints that others have published: which kind a file is, and its tensors under our names.

    kind         from                             encoder         whole method
    LEWEL_B      LEWEL, EMAN and SyncBN target    online network  yes
    BYOL-EMAN    EMAN                             online network  yes
    MoCo v2      MoCo, EMAN                       encoder_q       yes
    MoCo v1      MoCo                             encoder_q       no: its head is one linear layer
    backbone     torchvision, extracted files     all but fc      no

Every tensor of a file is accounted for: it is the encoder's, or `unused` names it, or the file is refused. Nothing is
unpickled but tensors and plain containers.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lewel import config
from lewel.errors import UserError
from lewel.interop import names

_CONTAINERS = ("state_dict", "model")
_TRAINING_STATE = ("optimizer", "scaler", "lr_scheduler", "scheduler")
_BACKBONE = "online.encoder.backbone."
_NON_COMMERCIAL = {"LEWEL_B": "LEWEL", "BYOL-EMAN": "EMAN", "MoCo v1": "MoCo", "MoCo v2": "MoCo"}
_MOCO_V1_HEAD = re.compile(r"encoder_[qk]\.fc\.(weight|bias)")
_IN_A_FILE_NAME = {"lewel": "LEWEL", "eman": "EMAN", "moco": "MoCo"}

# (bottleneck blocks, blocks of the four stages, shape of layer1.0.conv2.weight): torchvision's ResNets
_RESNETS = {
    (False, (2, 2, 2, 2), (64, 64)): "resnet18",
    (False, (3, 4, 6, 3), (64, 64)): "resnet34",
    (True, (3, 4, 6, 3), (64, 64)): "resnet50",
    (True, (3, 4, 23, 3), (64, 64)): "resnet101",
    (True, (3, 8, 36, 3), (64, 64)): "resnet152",
    (True, (3, 4, 6, 3), (128, 128)): "wide_resnet50_2",
    (True, (3, 4, 23, 3), (128, 128)): "wide_resnet101_2",
    (True, (3, 4, 6, 3), (128, 4)): "resnext50_32x4d",
    (True, (3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
}
RESNETS = tuple(_RESNETS.values())


class Published(NamedTuple):
    """What a file holds.

    encoder_state: the online encoder's tensors, names as timm and torchvision have them.
    method_state: all tensors under `Method`'s names, for `method.load_state_dict(...)`; empty without a whole method.
    unused: the file's names of all tensors that are not in encoder_state.   notes: sentences for the user.
    licence: those of the notes that say how the weights are licensed.
    """

    kind: str
    encoder_state: dict[str, Tensor]
    method_state: dict[str, Tensor]
    unused: tuple[str, ...]
    notes: tuple[str, ...]
    licence: tuple[str, ...] = ()


def read(path: Path) -> Published:
    """Read a published checkpoint, its tensors on the CPU.

    Raises UserError: no file, a file that is not made of tensors alone, tensors whose names no rule knows.
    """
    state, notes = tensors(path)
    kind = _kind(state)
    licence = _licence(kind, path)
    notes = [*notes, *licence]
    if kind == "backbone":
        _refuse([name for name in state if not re.match(r"(conv1|bn1|layer[1-4]\.\d+|fc)\.", name)], path)
        encoder = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
        return Published(kind, encoder, {}, _but(state, encoder), tuple(notes), licence)
    head = [name for name in state if _MOCO_V1_HEAD.fullmatch(name)]
    renamed = {name: names.ours(name) for name in state if name not in head}
    _refuse([name for name, new in renamed.items() if new is None], path)
    method = {new: names.in_our_shape(name, state[name]) for name, new in renamed.items() if new is not None}
    if len(method) != len(renamed):
        raise UserError(f"{path} holds two names for one tensor; it is no checkpoint of {kind}")
    encoder = _under(_BACKBONE, method)
    unused = tuple(name for name in state if not (renamed.get(name) or "").startswith(_BACKBONE))
    if head:
        notes.append("MoCo v1's head is one linear layer, which no recipe has: only the encoder can be used")
        return Published(kind, encoder, {}, unused, tuple(notes), licence)
    method["pending"] = torch.ones((), dtype=torch.bool)  # ours: no step has been rejected
    return Published(kind, encoder, method, unused, tuple(notes), licence)


def tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors of any weights file without its wrapping and DDP's "module.", and notes on what else is in it.

    Raises UserError: no file, a damaged one, one that would need code to be unpickled.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else unpickled(path)
    container = next((key for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
    state, rest = (content[container], [key for key in content if key != container]) if container else (content, [])
    if not state or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise UserError(f"{path} holds no state dict (names and tensors), neither alone nor under {_CONTAINERS}")
    unknown = [key for key in rest if key not in _TRAINING_STATE and _holds_tensors(content[key])]
    if unknown:
        raise UserError(f"{path} holds tensors beside its {container}: {shown(unknown)}; save only what is meant")
    stripped = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if len(stripped) != len(state):
        raise UserError(f"{path} holds tensors of the same name with and without 'module.'; save only what is meant")
    return stripped, [f"not read: {', '.join(map(str, rest))}"] if rest else []


def architecture(state: Mapping[str, Tensor], path: Path) -> config.Encoder:
    """Which ResNet the tensors are, by the number of its blocks and their shapes; its stem, by the first convolution.

    Raises UserError when it is none of torchvision's.
    """
    blocks = [{name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")} for stage in range(1, 5)]
    first = state.get("layer1.0.conv2.weight")
    if first is not None and first.ndim == 4 and "conv1.weight" in state:
        shape = (int(first.shape[0]), int(first.shape[1]))
        a, b, c, d = map(len, blocks)
        name = _RESNETS.get(("layer1.0.conv3.weight" in state, (a, b, c, d), shape))
        if name:
            return config.Encoder(name, "small" if state["conv1.weight"].shape[2:] == (3, 3) else "imagenet")
    raise UserError(f"{path} holds none of the ResNets {', '.join(RESNETS)}; name it: timm:NAME={path}")


def shown(items: list[str] | tuple[str, ...], most: int = 4) -> str:
    """The first few names, and how many more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {_reason(error)}; give a whole .safetensors file") from error


def unpickled(path: Path) -> Mapping[Any, Any]:
    """The content of a .pth file, of tensors and plain containers only. Raises UserError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not made of tensors alone, and code from a file is never run; save its state dict by itself, "
            "best as .safetensors"
        ) from error
    except Exception as error:  # of a damaged file, any
        raise UserError(f"{path} cannot be read: {_reason(error)}; give a whole file") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict (names and tensors)")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_tensors(each) for each in value.values())
    return isinstance(value, Tensor) and value.ndim > 0  # a best accuracy is a 0-d tensor


def _kind(state: Mapping[str, Tensor]) -> str:
    if any(name.startswith("online_net.") for name in state):
        return "LEWEL_B" if any("proj_obj." in name for name in state) else "BYOL-EMAN"
    if any(name.startswith("encoder_q.") for name in state):
        return "MoCo v1" if "encoder_q.fc.weight" in state else "MoCo v2"
    return "backbone"


def _licence(kind: str, path: Path) -> tuple[str, ...]:
    """A bare backbone says nothing of its origin but in the file's name."""
    by_name = (family for part, family in _IN_A_FILE_NAME.items() if part in path.name.lower())
    family = _NON_COMMERCIAL.get(kind) or next(by_name, None)
    if family is None:
        return ()
    return (f"the weights that {family}'s authors publish are licensed CC BY-NC 4.0: for non-commercial use only",)


def _refuse(unknown: list[str], path: Path) -> None:
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} tensors have names of neither LEWEL_B, BYOL-EMAN, MoCo nor a ResNet: "
            f"{shown(unknown)}; for another timm model write timm:NAME={path}"
        )


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _but(state: Mapping[str, Tensor], used: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name in state if name not in used)
