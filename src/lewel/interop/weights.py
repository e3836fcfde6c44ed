"""Encoders in and out of files: every tensor is accounted for, or the file is refused.

    source                  what it is
    RUN                     a run directory: its encoder.safetensors
    FILE.safetensors        one that `save_encoder` wrote
    FILE                    a published checkpoint or a ResNet's state dict (`lewel.interop.published`)
    timm:NAME=FILE          a state dict of any timm model
    timm:NAME               timm's own pretrained weights: from the network, or timm's cache
    random:NAME             untrained; NAME is timm's, or a RUN or FILE whose architecture is meant

`load_encoder` takes any of them, `initialise` (the flag `--init`) all but the last.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import timm
import torch
from timm.models import get_pretrained_cfg_value
from torch import Tensor

from lewel import config
from lewel.engine import files
from lewel.errors import UserError, nearest
from lewel.interop import published
from lewel.model.encoder import Encoder
from lewel.model.method import Method
from lewel.version import __version__

log = logging.getLogger(__name__)

ENCODER_FILE = "encoder.safetensors"
_KEY = "lewel"  # one key of JSON: safetensors writes several keys in another order each time
_IN_A_METHOD = ("online.encoder.backbone.", "target.branch.encoder.backbone.")


class Account(NamedTuple):
    """Where the tensors of a source went.

    missing: in the encoder, not in the source: BN's counters of batches, which old files lack; they start at 0.
    unexpected: in the source, not in an encoder: classifiers, projectors, predictors, target networks, queues.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = Counter(name.split(".")[0] for name in self.unexpected)
        unused = ", ".join(f"{part} ({count})" for part, count in parts.items()) or "none"
        missing = f"{len(self.missing)} BN counters, started at 0" if self.missing else "none"
        loaded = f"{self.source}: {self.loaded} tensors loaded into the encoder"
        return ". ".join([f"{loaded}; missing: {missing}; not used: {unused}", *self.notes])


class Loaded(NamedTuple):
    """metadata: of a file by `save_encoder`, or timm's mean, std and image_size; else empty."""

    encoder: Encoder
    account: Account
    metadata: dict[str, Any]


class _Weights(NamedTuple):
    """A source as read: nothing is built yet. state: None for random weights."""

    encoder: config.Encoder
    state: dict[str, Tensor] | None
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def save_encoder(encoder: Encoder, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the encoder's tensors under timm's names; the same tensors and metadata give the same bytes.

    The file appears at once or not at all. With `state = safetensors.torch.load_file(path)` it loads strictly:

        timm.create_model(NAME, num_classes=0).load_state_dict(state)
        model = torchvision.models.resnet50(); model.fc = nn.Identity(); model.load_state_dict(state)

    An encoder with the small stem is no model of torchvision's; in timm, replace the stem first:

        model = timm.create_model("resnet18", num_classes=0)
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()

    metadata: recipe, image_size, mean and std; the encoder's name and stem and the version are added.
    Raises UserError when the disk is full or the folder cannot be written.
    """
    try:
        files.replace(path, encoder_bytes(encoder, metadata))
    except OSError as error:
        raise UserError(f"{path} not written: {error.strerror or error}; the file before it is untouched") from error


def encoder_bytes(encoder: Encoder, metadata: Mapping[str, Any]) -> bytes:
    """What `save_encoder` writes."""
    own = {"encoder": encoder.name, "stem": encoder.stem, "lewel": __version__}
    tensors = encoder.backbone.state_dict().items()
    state = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}
    return safetensors.torch.save(state, {_KEY: json.dumps({**metadata, **own}, sort_keys=True)})


def load_encoder(source: str | Path) -> Encoder:
    """The encoder of a run, a file, a timm model (the table above): images (b, 3, h, w) -> (b, c, h, w), in train mode.

    What was loaded is logged (INFO), notes such as a licence too (WARNING).
    Raises UserError: no such source, or one that does not fit, with the names that differ.
    """
    loaded = load(source)
    log.info("%s", loaded.account._replace(notes=()))
    for note in loaded.account.notes:
        log.warning("%s: %s", source, note)
    return loaded.encoder


def load(source: str | Path) -> Loaded:
    """As `load_encoder`, silently, with the account and the metadata."""
    weights = _open(source)
    encoder = Encoder.from_config(weights.encoder)
    if weights.state is None:
        return Loaded(encoder, Account(str(source), 0, notes=weights.notes), weights.metadata)
    state, missing = _fitted(weights, encoder, source)
    encoder.backbone.load_state_dict(state)
    return Loaded(encoder, _account(source, weights, state, missing), weights.metadata)


def initialise(method: Method, source: str | Path) -> Account:
    """Start the online and the target encoder of an untrained method from given weights: `--init`.

    source: as for `load_encoder`, or "random", which changes nothing. The heads stay as they are.
    Raises UserError, and changes nothing, when the weights are of another encoder.
    """
    if str(source) == "random":
        return Account("random", 0)
    weights, encoder = _open(source), method.online.encoder
    assert isinstance(encoder, Encoder)
    given, here = (f"{_untagged(each.name)} with the {each.stem} stem" for each in (weights.encoder, encoder))
    if given != here:
        flags = f"--encoder {_untagged(weights.encoder.name)} --stem {weights.encoder.stem}"
        raise UserError(f"--init {source} holds {given}, the recipe has {here}; use {flags}, or other weights")
    if weights.state is None:
        raise UserError(f"--init {source}: untrained weights are --init random")
    state, missing = _fitted(weights, encoder, source)
    whole = method.state_dict()
    for prefix in _IN_A_METHOD:
        whole.update({prefix + name: tensor for name, tensor in state.items()})
    method.load_state_dict(whole)
    return _account(source, weights, state, missing)


def read_metadata(path: Path) -> dict[str, Any]:
    """What `save_encoder` wrote beside the tensors; empty for a file of another origin.

    Raises UserError for a damaged file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        assert not content or isinstance(content["encoder"] + content["stem"], str)
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"{path} cannot be read: it is damaged, or no .safetensors file") from error
    return content


def _open(source: str | Path) -> _Weights:
    kind, _, rest = str(source).partition(":")
    if kind == "random":
        return _Weights(_open(rest).encoder if Path(rest).exists() else config.Encoder(rest), None)
    if kind == "timm":
        name, given, file = rest.partition("=")
        if not timm.is_model(name):
            raise UserError(f"timm:{name} is not a timm model{nearest(name, timm.list_models())}")
        return _timm_file(name, Path(file)) if given else _timm_pretrained(name)
    path = Path(source)
    if path.is_dir():
        path = path / ENCODER_FILE
    if not path.is_file():
        allowed = "a run directory, a weights file, timm:NAME, timm:NAME=FILE or random:NAME"
        raise UserError(f"{path} does not exist; give {allowed}")
    metadata = read_metadata(path) if path.suffix == ".safetensors" else {}
    if metadata:
        encoder = config.Encoder(metadata["encoder"], metadata["stem"])
        return _Weights(encoder, published.tensors(path)[0], metadata=metadata)
    found = published.read(path)
    notes = (f"read as {found.kind}", *found.notes)
    return _Weights(published.architecture(found.encoder_state, path), found.encoder_state, found.unused, notes)


def _timm_file(name: str, path: Path) -> _Weights:
    state, notes = published.tensors(path)
    return _without_classifier(name, state, tuple(notes), {})


def _timm_pretrained(name: str) -> _Weights:
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # a hub client may raise anything; what failed is the same
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"timm:{name}: timm found no pretrained weights, neither in its cache nor on the network ({reason}); "
            f"get the file another way, then timm:{name}=FILE"
        ) from error
    own: Any = model.pretrained_cfg  # a dict, or a class of timm's with the same items
    metadata = {"mean": list(own["mean"]), "std": list(own["std"]), "image_size": own["input_size"][-1]}
    licence = own.get("license")
    notes = (f"timm gives their licence as {licence}",) if licence else ()
    return _without_classifier(name, model.state_dict(), notes, metadata)


def _without_classifier(
    name: str, state: dict[str, Tensor], notes: tuple[str, ...], metadata: dict[str, Any]
) -> _Weights:
    """timm says where each of its models has the classifier."""
    classifier = get_pretrained_cfg_value(name, "classifier") or ()
    prefixes = tuple(f"{each}." for each in ([classifier] if isinstance(classifier, str) else classifier))
    encoder = {key: tensor for key, tensor in state.items() if not key.startswith(prefixes)}
    unexpected = tuple(key for key in state if key not in encoder)
    return _Weights(config.Encoder(name), encoder, unexpected, notes, metadata)


def _fitted(weights: _Weights, encoder: Encoder, source: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict for the encoder's backbone, whole, and the BN counters that had to be added."""
    assert weights.state is not None
    given, here = weights.state, encoder.backbone.state_dict()
    absent = [name for name in here if name not in given]
    counters = tuple(name for name in absent if name.endswith("num_batches_tracked"))
    problems = {
        "missing": [name for name in absent if name not in counters],
        "unexpected": [name for name in given if name not in here],
        "of another shape": [
            f"{name} {tuple(given[name].shape)}, here {tuple(tensor.shape)}"
            for name, tensor in here.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(each)} {what}: {published.shown(each)}" for what, each in problems.items() if each)
        here_is = f"{encoder.name} with the {encoder.stem} stem"
        raise UserError(f"{source} does not fit {here_is}: {listed}; give other weights")
    return {**given, **{name: torch.zeros_like(here[name]) for name in counters}}, counters


def _account(source: str | Path, weights: _Weights, state: Mapping[str, Tensor], missing: tuple[str, ...]) -> Account:
    return Account(str(source), len(state) - len(missing), missing, weights.unexpected, weights.notes)


def _untagged(name: str) -> str:
    """timm's resnet50.a1_in1k is resnet50, trained in some way."""
    return name.split(".")[0]
