"""Checkpoints that others have published: which kind a file is, and a whole method's tensors under our names.

    kind         from                             encoder         whole method
    LEWEL_B      LEWEL, EMAN and SyncBN target    online network  yes
    BYOL-EMAN    EMAN                             online network  yes
    MoCo v2      MoCo, EMAN                       encoder_q       yes
    MoCo v1      MoCo                             encoder_q       no: its head is one linear layer
    backbone     any other                        as `lewel.interop.candidates` finds it

Every tensor of a file is accounted for: it is the encoder's, or `unused` names it, or the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lewel.errors import UserError
from lewel.interop import account, candidates, names, tensor_files

_BACKBONE = "online.encoder.backbone."
_NON_COMMERCIAL = {"LEWEL_B": "LEWEL", "BYOL-EMAN": "EMAN", "MoCo v1": "MoCo", "MoCo v2": "MoCo"}
_MOCO_V1_HEAD = re.compile(r"encoder_[qk]\.fc\.(weight|bias)")
_IN_A_FILE_NAME = {"lewel": "LEWEL", "eman": "EMAN", "moco": "MoCo"}


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


def read(path: str | Path) -> Published:
    """Read a published checkpoint, its tensors on the CPU.

    Raises UserError: no file, a file that is not made of tensors alone, tensors whose names no rule knows.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"{path!r} is no path of a file")
    path = Path(path)
    content = tensor_files.read(path)
    within = candidates.groups(content)
    group = next((each for each in within if kind(each.tensors)), None)
    if group is None:
        return _backbone(path, within)
    beside = account.beside(content, within, group)
    return _method(path, {name.removeprefix("module."): tensor for name, tensor in group.tensors.items()}, beside)


def _backbone(path: Path, within: list[candidates.Group]) -> Published:
    found = candidates.find(within, None)
    if not found:
        raise UserError(
            f"{path}: its tensors have names of neither LEWEL_B, BYOL-EMAN, MoCo nor an encoder that is recognised; "
            "for a timm model use load_encoder with timm:NAME=FILE"
        )
    choice = candidates.choose(found, "")
    assert choice.chosen is not None
    unused = tuple(each.name for each in account.unused(choice.chosen, choice.others))
    notes = licence(choice.chosen.group.tensors, path)
    return Published("backbone", choice.chosen.state, {}, unused, notes, notes)


def _method(path: Path, state: Mapping[str, Tensor], beside: tuple[str, ...]) -> Published:
    what = kind(state)
    notes = [*beside, *(licensed := licence(state, path))]
    head = [name for name in state if _MOCO_V1_HEAD.fullmatch(name)]
    renamed = {name: names.ours(name) for name in state if name not in head}
    _refuse([name for name, new in renamed.items() if new is None], path)
    method = {new: names.in_our_shape(name, state[name]) for name, new in renamed.items() if new is not None}
    if len(method) != len(renamed):
        raise UserError(f"{path} holds two names for one tensor; it is no checkpoint of {what}")
    encoder = {name.removeprefix(_BACKBONE): t for name, t in method.items() if name.startswith(_BACKBONE)}
    unused = tuple(name for name in state if not (renamed.get(name) or "").startswith(_BACKBONE))
    if head:
        notes.append("MoCo v1's head is one linear layer, which no recipe has: only the encoder can be used")
        return Published(what, encoder, {}, unused, tuple(notes), licensed)
    method["pending"] = torch.ones((), dtype=torch.bool)  # ours: no step has been rejected
    return Published(what, encoder, method, unused, tuple(notes), licensed)


def kind(tensors: Iterable[str]) -> str:
    """Which method's checkpoint the names are of; "" for none that is known."""
    plain = {name.removeprefix("module.") for name in tensors}
    if any(name.startswith("online_net.") for name in plain):
        return "LEWEL_B" if any("proj_obj." in name for name in plain) else "BYOL-EMAN"
    if any(name.startswith("encoder_q.") for name in plain):
        return "MoCo v1" if "encoder_q.fc.weight" in plain else "MoCo v2"
    return ""


def licence(tensors: Iterable[str], path: Path) -> tuple[str, ...]:
    """The licence of the file's kind, or of the family in its name: a bare backbone says nothing of its origin."""
    by_name = (family for part, family in _IN_A_FILE_NAME.items() if part in path.name.lower())
    family = _NON_COMMERCIAL.get(kind(tensors)) or next(by_name, None)
    if family is None:
        return ()
    return (f"the weights that {family}'s authors publish are licensed CC BY-NC 4.0: for non-commercial use only",)


def _refuse(unknown: list[str], path: Path) -> None:
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} tensors have names of neither LEWEL_B, BYOL-EMAN, MoCo nor a ResNet: "
            f"{account.shown(unknown)}; load_encoder reads the encoder alone"
        )
