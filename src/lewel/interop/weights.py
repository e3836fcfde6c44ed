"""Encoders in and out of files: every tensor is accounted for, or the file is refused.

`load` takes any source of `lewel.interop.sources`, `load_encoder` those that have a feature map (no ViT), `initialise`
(the flag `--init`) all but untrained ones.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from lewel.engine import files
from lewel.errors import UserError, reason
from lewel.interop import account, sources
from lewel.interop.account import Account
from lewel.interop.sources import ENCODER_FILE, Source, read_metadata
from lewel.model.encoder import MAP_NEEDED, Encoder, Headless, has_map, own_size
from lewel.version import __version__

__all__ = ["ENCODER_FILE", "Account", "Loaded", "initialise", "load", "load_encoder", "read_metadata", "save_encoder"]

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """encoder: `Headless` where the network has no feature map.

    metadata: of a file by `save_encoder`, or timm's mean, std and image_size; else empty.
    """

    encoder: Encoder | Headless
    account: Account
    metadata: dict[str, Any]


def save_encoder(encoder: Encoder, path: str | Path, metadata: Mapping[str, Any]) -> None:
    """Write the encoder's tensors under timm's names; the same tensors and metadata give the same bytes.

    The file appears at once or not at all. With `state = safetensors.torch.load_file(path)` it loads strictly:

        timm.create_model(NAME, num_classes=0).load_state_dict(state)
        model = torchvision.models.resnet50(); model.fc = nn.Identity(); model.load_state_dict(state)

    An encoder with the small stem is no model of torchvision's; in timm, replace the stem first:

        model = timm.create_model("resnet18", num_classes=0)
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()

    metadata: recipe, image_size, mean and std; the encoder's name and stem and the version are added.
    Raises UserError when the disk is full or the folder cannot be written, and for what is no encoder.
    """
    if not isinstance(encoder, Encoder | Headless) or not isinstance(path, str | Path):
        raise UserError(f"save_encoder takes an Encoder and a path, not {_kind(encoder)} and {_kind(path)}")
    try:
        content = encoder_bytes(encoder, metadata)
    except TypeError as error:
        raise UserError(f"save_encoder: the metadata must be a dict of what JSON can hold ({error})") from error
    try:
        files.replace(Path(path), content)
    except OSError as error:
        raise UserError(f"{path} not written ({reason(error)}); the file before it is untouched") from error


def encoder_bytes(encoder: Encoder | Headless, metadata: Mapping[str, Any]) -> bytes:
    """What `save_encoder` writes."""
    tensors = encoder.backbone.state_dict().items()
    state = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}
    return safetensors.torch.save(state, {sources.KEY: json.dumps(described(encoder, metadata), sort_keys=True)})


def described(encoder: Encoder | Headless, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with what they are of."""
    own = {"encoder": encoder.name, "stem": encoder.stem, "lewel": __version__, "format": sources.FORMAT}
    return {**metadata, **own}


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def load_encoder(source: str | Path) -> Encoder:
    """The encoder of a run, a file or a timm model: images (b, 3, h, w) -> (b, c, h, w), in eval mode.

    source: see `lewel.interop.sources`. For training call `.train()`.

    What was loaded is logged (INFO), notes such as a licence too (WARNING).
    Raises UserError: no such source, one that does not fit, with the names that differ, or one without a map.
    """
    loaded = load(source)
    if isinstance(loaded.encoder, Headless):
        raise UserError(f"{source}: {loaded.encoder.name} returns vectors; {MAP_NEEDED} here")
    log.info("%s", loaded.account._replace(notes=()))
    for note in loaded.account.notes:
        log.warning("%s: %s", source, note)
    return loaded.encoder.eval()


def load(source: str | Path) -> Loaded:
    """Any source, silently, with the account and the metadata; in train mode. Raises UserError."""
    found = sources.open_source(source)
    name = found.encoder.name
    encoder = Encoder.from_config(found.encoder) if has_map(name) else Headless(name)
    if found.state is None:
        return Loaded(encoder, Account(str(source), 0, notes=found.notes), found.metadata)
    state, missing = _fitted(found, encoder, source)
    encoder.backbone.load_state_dict(state)
    return Loaded(encoder, _account(source, found, state, missing), found.metadata)


def initialise(method: nn.Module, source: str | Path) -> Account:
    """Start every encoder of an untrained method, online and target, from given weights: `--init`.

    source: as for `load_encoder`, or "random", which changes nothing. The heads stay as they are.
    Raises UserError, and changes nothing, when the weights are of another encoder.
    """
    encoder = getattr(method, "encoder", None)
    if not isinstance(method, nn.Module) or not isinstance(encoder, Encoder):
        raise UserError(f"initialise takes a method, as lewel.build.method makes one, not {_kind(method)}")
    if str(source) == "random":
        return Account("random", 0)
    found = sources.open_source(source)
    given, here = (f"{untagged(each.name)} with the {each.stem} stem" for each in (found.encoder, encoder))
    if given != here:
        flags = f"--encoder {untagged(found.encoder.name)} --stem {found.encoder.stem}"
        raise UserError(f"--init {source} holds {given}, the recipe has {here}; use {flags}, or other weights")
    if found.state is None:
        raise UserError(f"--init {source}: untrained weights are --init random")
    state, missing = _fitted(found, encoder, source)
    whole = method.state_dict()
    for path, part in method.named_modules(remove_duplicate=False):
        if isinstance(part, Encoder):
            whole.update({f"{path}.backbone.{name}": tensor for name, tensor in state.items()})
    method.load_state_dict(whole)
    return _account(source, found, state, missing)


def _fitted(
    found: Source, encoder: Encoder | Headless, source: str | Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict for the encoder's backbone, whole, and the BN counters that had to be added."""
    assert found.state is not None
    given, here = found.state, encoder.backbone.state_dict()
    absent = [name for name in here if name not in given]
    counters = tuple(name for name in absent if name.endswith("num_batches_tracked"))
    problems = {
        "missing": [name for name in absent if name not in counters],
        "unexpected": [*found.foreign, *(name for name in given if name not in here)],
        "of another shape": [
            f"{name} {tuple(given[name].shape)}, here {tuple(tensor.shape)}"
            for name, tensor in here.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(each)} {what}: {account.shown(each)}" for what, each in problems.items() if each)
        here_is = f"{encoder.name} with the {encoder.stem} stem"
        raise UserError(f"{source} does not fit {here_is}: {listed}; give {_allowed(problems, encoder.name)}")
    return {**given, **{name: torch.zeros_like(here[name]) for name in counters}}, counters


def _allowed(problems: Mapping[str, list[str]], name: str) -> str:
    """What would fit: position embeddings are those of one image size."""
    if any(each.startswith("pos_embed") for each in problems["of another shape"]):
        return f"weights for images of {own_size(name)} px, as timm has {name}, or the name of the model they are of"
    return "other weights"


def _account(source: str | Path, found: Source, state: Mapping[str, Tensor], missing: tuple[str, ...]) -> Account:
    return Account(str(source), len(state) - len(missing), missing, found.unused, found.notes, found.licence)


def untagged(name: str) -> str:
    """timm's resnet50.a1_in1k is resnet50, trained in some way."""
    return name.split(".")[0]
