"""Encoders in and out of files: every tensor is accounted for, or the file is refused.

    source                  what it is
    RUN                     a run directory: its encoder.safetensors
    FILE.safetensors        one that `save_encoder` wrote
    FILE                    a published checkpoint or a ResNet's state dict (`lewel.interop.published`)
    timm:NAME=FILE          a state dict of any timm model
    timm:NAME               timm's own pretrained weights: from the network, or timm's cache
    random:NAME             untrained; NAME is timm's, or a RUN or FILE whose architecture and image size are meant

`load` takes any of them, `load_encoder` those that have a feature map (no ViT), `initialise` (the flag `--init`) all of
those but the last.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import safetensors
import safetensors.torch
import timm
import torch
from timm.models import get_pretrained_cfg_value
from torch import Tensor

from lewel import config, plan
from lewel.engine import files
from lewel.errors import UserError, nearest
from lewel.interop import published
from lewel.model.encoder import MAP_NEEDED, Encoder, Headless, has_map, own_size
from lewel.model.method import Method
from lewel.version import __version__

log = logging.getLogger(__name__)

ENCODER_FILE = "encoder.safetensors"
_NUMBERS = ("image_size", "mean", "std")
_KEY = "lewel"  # one key of JSON: safetensors writes several keys in another order each time
_IN_A_METHOD = ("online.encoder.backbone.", "target.branch.encoder.backbone.")


class Account(NamedTuple):
    """Where the tensors of a source went.

    missing: in the encoder, not in the source: BN's counters of batches, which old files lack; they start at 0.
    unexpected: in the source, not in an encoder: classifiers, projectors, predictors, target networks, queues.
    licence: those of the notes that say how the weights are licensed.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    licence: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = Counter(name.split(".")[0] for name in self.unexpected)
        unused = ", ".join(f"{part} ({count})" for part, count in parts.items()) or "none"
        missing = f"{len(self.missing)} BN counters, started at 0" if self.missing else "none"
        loaded = f"{self.source}: {self.loaded} tensors loaded into the encoder"
        return ". ".join([f"{loaded}; missing: {missing}; not used: {unused}", *self.notes])


class Loaded(NamedTuple):
    """encoder: `Headless` where the network has no feature map.

    metadata: of a file by `save_encoder`, or timm's mean, std and image_size; else empty.
    """

    encoder: Encoder | Headless
    account: Account
    metadata: dict[str, Any]


class _Weights(NamedTuple):
    """A source as read: nothing is built yet. state: None for random weights."""

    encoder: config.Encoder
    state: dict[str, Tensor] | None
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    licence: tuple[str, ...] = ()
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


def encoder_bytes(encoder: Encoder | Headless, metadata: Mapping[str, Any]) -> bytes:
    """What `save_encoder` writes."""
    tensors = encoder.backbone.state_dict().items()
    state = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}
    return safetensors.torch.save(state, {_KEY: json.dumps(described(encoder, metadata), sort_keys=True)})


def described(encoder: Encoder | Headless, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with what they are of."""
    return {**metadata, "encoder": encoder.name, "stem": encoder.stem, "lewel": __version__}


def load_encoder(source: str | Path) -> Encoder:
    """The encoder of a run, a file, a timm model (the table above): images (b, 3, h, w) -> (b, c, h, w), in train mode.

    What was loaded is logged (INFO), notes such as a licence too (WARNING).
    Raises UserError: no such source, one that does not fit, with the names that differ, or one without a map.
    """
    loaded = load(source)
    if isinstance(loaded.encoder, Headless):
        raise UserError(f"{source}: {loaded.encoder.name} returns vectors; {MAP_NEEDED} here")
    log.info("%s", loaded.account._replace(notes=()))
    for note in loaded.account.notes:
        log.warning("%s: %s", source, note)
    return loaded.encoder


def load(source: str | Path) -> Loaded:
    """Any source of the table above, silently, with the account and the metadata. Raises UserError."""
    weights = _open(source)
    name = weights.encoder.name
    encoder = Encoder.from_config(weights.encoder) if has_map(name) else Headless(name)
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
    given, here = (f"{untagged(each.name)} with the {each.stem} stem" for each in (weights.encoder, encoder))
    if given != here:
        flags = f"--encoder {untagged(weights.encoder.name)} --stem {weights.encoder.stem}"
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
        return _untrained(rest)
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
        encoder, licence = config.Encoder(metadata["encoder"], metadata["stem"]), tuple(metadata.get("licence", ()))
        return _Weights(encoder, published.tensors(path)[0], (), licence, licence, metadata)
    found = published.read(path)
    notes = (f"read as {found.kind}", *found.notes)
    encoder = published.architecture(found.encoder_state, path)
    return _Weights(encoder, found.encoder_state, found.unused, notes, found.licence)


def _untrained(name: str) -> _Weights:
    if Path(name).exists():
        given = _open(name)
        numbers = {key: given.metadata[key] for key in _NUMBERS if key in given.metadata}
        return _Weights(_as_it_began(Path(name)) or given.encoder, None, metadata=numbers)
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise UserError(f"random:{name}: no such run or file, and {name} is not a timm model{hint}")
    return _Weights(config.Encoder(name), None, metadata={} if has_map(name) else _timms_numbers(name))


def _as_it_began(run: Path) -> config.Encoder | None:
    """A run's recipe also says how the last batch norms of the blocks began, which its weights do not."""
    recipe = run / "config.yaml"
    return plan.from_yaml(recipe.read_text(encoding="utf-8")).method.encoder if recipe.is_file() else None


def _timm_file(name: str, path: Path) -> _Weights:
    state, notes = published.tensors(path)
    own = read_metadata(path) if path.suffix == ".safetensors" else {}
    licence = tuple(own.get("licence", ()))
    return _without_classifier(name, state, (*notes, *licence), licence, _timms_numbers(name) | own)


def _timms_numbers(name: str) -> dict[str, Any]:
    """Size, mean and std of the images for which timm has the model."""
    own = timm.get_pretrained_cfg(name)
    return {"image_size": own_size(name)} | ({"mean": list(own.mean), "std": list(own.std)} if own is not None else {})


def _timm_pretrained(name: str) -> _Weights:
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # a hub client may raise anything; what failed is the same
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"timm:{name}: timm found no pretrained weights, neither in its cache nor on the network ({reason}); "
            f"get the file another way, then timm:{name}=FILE"
        ) from error
    licence = cast(Any, model.pretrained_cfg).get("license")
    notes = (f"timm gives their licence as {licence}",) if licence else ()
    return _without_classifier(name, model.state_dict(), notes, notes, _timms_numbers(name))


def _without_classifier(
    name: str, state: dict[str, Tensor], notes: tuple[str, ...], licence: tuple[str, ...], metadata: dict[str, Any]
) -> _Weights:
    """timm says where each of its models has the classifier."""
    classifier = get_pretrained_cfg_value(name, "classifier") or ()
    prefixes = tuple(f"{each}." for each in ([classifier] if isinstance(classifier, str) else classifier))
    encoder = {key: tensor for key, tensor in state.items() if not key.startswith(prefixes)}
    unexpected = tuple(key for key in state if key not in encoder)
    return _Weights(config.Encoder(name), encoder, unexpected, notes, licence, metadata)


def _fitted(
    weights: _Weights, encoder: Encoder | Headless, source: str | Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
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
        raise UserError(f"{source} does not fit {here_is}: {listed}; give {_allowed(problems, encoder.name)}")
    return {**given, **{name: torch.zeros_like(here[name]) for name in counters}}, counters


def _allowed(problems: Mapping[str, list[str]], name: str) -> str:
    """What would fit: position embeddings are those of one image size."""
    if any(each.startswith("pos_embed") for each in problems["of another shape"]):
        return f"weights for images of {own_size(name)} px, as timm has {name}, or the name of the model they are of"
    return "other weights"


def _account(source: str | Path, weights: _Weights, state: Mapping[str, Tensor], missing: tuple[str, ...]) -> Account:
    return Account(str(source), len(state) - len(missing), missing, weights.unexpected, weights.notes, weights.licence)


def untagged(name: str) -> str:
    """timm's resnet50.a1_in1k is resnet50, trained in some way."""
    return name.split(".")[0]
