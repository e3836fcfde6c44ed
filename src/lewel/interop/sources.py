"""Open a source of weights: what `--weights` and `--init` take, as an architecture and its tensors. Nothing is built.

source                  what it is
RUN                     a run directory: its encoder.safetensors
FILE                    a file that `save_encoder` wrote, or anybody's checkpoint (`lewel.interop.candidates`)
FILE#PLACE              the same, where a checkpoint holds several encoders: the one at PLACE
timm:NAME=FILE[#PLACE]  a checkpoint of that timm model
timm:NAME               timm's own pretrained weights: from timm's cache, or from the network
random:NAME             untrained; NAME is timm's, or a RUN or FILE whose architecture and image size are meant
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import timm
from torch import Tensor

from lewel import config, reading
from lewel.errors import UserError, nearest
from lewel.interop import account, architectures, candidates, hub, published, tensor_files
from lewel.interop.candidates import Candidate
from lewel.model.encoder import has_map, own_size
from lewel.recipes import config_file
from lewel.terminal import printable

ENCODER_FILE = "encoder.safetensors"
FORMAT = 1  # of the metadata that `save_encoder` writes; files without a number are of format 1 too
KEY = "lewel"  # one key of JSON: safetensors writes several keys in another order each time
_NUMBERS = ("image_size", "mean", "std")
_ALLOWED = "a run directory, a weights file, timm:NAME, timm:NAME=FILE or random:NAME"


class Source(NamedTuple):
    """A source as read. state: None for random weights.

    unused: names of tensors in the file that are not the encoder's, each with why.
    foreign: names within the encoder's own modules that the architecture has not: it is another one.
    metadata: of a file by `save_encoder`, or timm's mean, std and image_size; else empty.
    """

    encoder: config.Encoder
    state: dict[str, Tensor] | None
    unused: tuple[account.Unused, ...] = ()
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    licence: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def open_source(source: str | Path) -> Source:
    """Read any source of the table above. Raises UserError: there is none, or it cannot be used."""
    if not isinstance(source, str | Path):
        raise UserError(f"{source!r} is no source of weights; give {_ALLOWED}")
    kind, _, rest = str(source).partition(":")
    if kind == "random":
        return _untrained(rest)
    if kind == "timm":
        name, given, file = rest.partition("=")
        if not timm.is_model(name):
            raise UserError(f"timm:{name} is not a timm model{nearest(name, timm.list_models())}")
        if given and not file:
            raise UserError(f"timm:{name}= names no file; give timm:{name}=FILE, or timm:{name} for timm's own weights")
        return _checkpoint(file, config.Encoder(name)) if given else _timm_pretrained(name)
    path, _ = split_place(str(source))
    if os.path.isdir(path):
        path = path / ENCODER_FILE
    if not os.path.exists(path):  # as Path has it, a name that is too long would be an error
        raise UserError(f"{path} does not exist; give {_ALLOWED}")
    metadata = read_metadata(path) if path.suffix == ".safetensors" else {}
    return _own(path, metadata) if metadata else _checkpoint(str(source), None)


def split_place(source: str) -> tuple[Path, str]:
    """FILE#PLACE as both; a file whose name has a # is that file."""
    path, sign, place = source.rpartition("#")
    return (Path(path), place) if sign and not os.path.exists(source) else (Path(source), "")


def read_metadata(path: Path) -> dict[str, Any]:
    """What `save_encoder` wrote beside the tensors; empty for a file of another origin.

    Raises UserError for a damaged file, and one of a newer lewel.
    """
    try:
        reading.check_regular(path)
        with safetensors.safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {}).get(KEY, "{}"))
        assert not content or isinstance(content["encoder"] + content["stem"], str)
    except (
        *(OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, AssertionError, RecursionError),
    ) as error:
        raise UserError(f"{path} cannot be read: it is damaged, or no .safetensors file") from error
    if content:
        reading.check_format(path, content.get("format", FORMAT), FORMAT)
    return content


def _own(path: Path, metadata: dict[str, Any]) -> Source:
    """A file that `save_encoder` wrote."""
    licence = tuple(metadata.get("licence", ()))
    state = {name: tensor for name, tensor in tensor_files.read(path).items() if isinstance(tensor, Tensor)}
    return Source(
        config.Encoder(metadata["encoder"], metadata["stem"]), state, notes=licence, licence=licence, metadata=metadata
    )


def _checkpoint(file: str, given: config.Encoder | None) -> Source:
    """One encoder of a checkpoint, with an account of everything else in it."""
    path, place = split_place(file)
    typed = f"timm:{given.name}={path}" if given else str(path)
    own = read_metadata(path) if path.suffix == ".safetensors" and path.is_file() else {}
    content = tensor_files.read(path)
    within = candidates.groups(content)
    if not within:
        raise UserError(f"{path} holds no state dict (names and tensors), neither alone nor in any dict in it")
    found = candidates.find(within, given)
    if not found:
        raise UserError(_unknown(path, within, given))
    choice = candidates.choose(found, place)
    chosen = choice.chosen
    if chosen is None:
        raise UserError(f"{file}: {place!r} is the place of none or of several encoders; give {_places(typed, found)}")
    licence = (*published.licence(chosen.group.tensors, path), *own.get("licence", ()))
    notes = (
        *(() if given else (_said_of(chosen),)),
        *(() if not choice.others else (_said_of_others(typed, choice),)),
        *account.beside(content, within, chosen.group, choice.others),
        *licence,
    )
    metadata = _timms_numbers(chosen.encoder.name) if given or not has_map(chosen.encoder.name) else {}
    if not given and metadata:  # a ViT: of one image size, but timm's mean and std are of timm's weights
        metadata = {"image_size": metadata["image_size"]}
    return Source(
        chosen.encoder,
        chosen.state,
        account.unused(chosen, choice.others),
        chosen.foreign,
        notes,
        licence,
        metadata | own,
    )


def _said_of(chosen: Candidate) -> str:
    at = f" at {chosen.where}" if chosen.where else ""
    kind = published.kind(chosen.group.tensors)
    stem = " with the small stem (3x3; padding 1 and no max-pool are taken for granted)"
    said = f"read as {chosen.encoder.name}{stem if chosen.encoder.stem == 'small' else ''}{at}, by names and shapes"
    return printable(said + (f"; the file is of {kind}" if kind else ""))


def _said_of_others(typed: str, choice: candidates.Choice) -> str:
    assert choice.chosen is not None
    return (
        f"{len(choice.others) + 1} encoders in the file; read is {printable(choice.chosen.where)}: "
        f"{choice.why}. For another give {_places(typed, choice.others)}"
    )


def _places(typed: str, found: Sequence[Candidate]) -> str:
    return " or ".join(printable(f"{typed}#{each.where}") for each in found[:4])


def _unknown(path: Path, within: list[candidates.Group], given: config.Encoder | None) -> str:
    if given is not None:
        others = candidates.find(within, None)
        what = f"its tensors are those of {others[0].encoder.name}: timm:{others[0].encoder.name}={path}"
        return f"{path} holds no {given.name}; " + (what if others else "give the name of the model that it is of")
    near = candidates.nearest(within)
    names = [name for group in within for name in group.tensors]
    return (
        f"{path} holds none of the {architectures.FAMILIES} (it has {account.shown(names)})"
        f"{f'; the nearest is {near}' if near else ''}; name the timm model that it is of: timm:NAME={path}"
    )


def _untrained(name: str) -> Source:
    if name and os.path.exists(split_place(name)[0]):
        given = open_source(name)
        numbers = {key: given.metadata[key] for key in _NUMBERS if key in given.metadata}
        return Source(_as_it_began(Path(name)) or given.encoder, None, metadata=numbers)
    if not timm.is_model(name):
        hint = nearest(name, timm.list_models())
        raise UserError(f"random:{name}: no such run or file, and {name} is not a timm model{hint}")
    return Source(config.Encoder(name), None, metadata={} if has_map(name) else _timms_numbers(name))


def _as_it_began(run: Path) -> config.Encoder | None:
    """A run's recipe also says how the last batch norms of the blocks began, which its weights do not."""
    recipe = run / config_file.NAME
    return config_file.read(recipe).method.encoder if recipe.exists() else None


def _timms_numbers(name: str) -> dict[str, Any]:
    """Size, mean and std of the images for which timm has the model."""
    own = timm.get_pretrained_cfg(name)
    return {"image_size": own_size(name)} | ({"mean": list(own.mean), "std": list(own.std)} if own is not None else {})


def _timm_pretrained(name: str) -> Source:
    model = hub.pretrained(name)
    encoder, state = config.Encoder(name), model.state_dict()
    heads = [key for key in state if key.startswith(architectures.classifier(name))]
    licence = hub.licence(model)
    notes = (f"timm gives their licence as {licence}",) if licence else ()
    kept: Mapping[str, Tensor] = {key: tensor for key, tensor in state.items() if key not in heads}
    unused = tuple(account.Unused(key, account.CLASSIFIER) for key in heads)
    return Source(encoder, dict(kept), unused, (), notes, notes, _timms_numbers(name))
