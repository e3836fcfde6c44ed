"""State dicts for torchvision and timm, .pth, and lewel's own .safetensors.

A .pth file is what `torch.save(model.state_dict(), FILE)` writes. What lewel knows of the weights stands in the state
dict's own metadata, which `load_state_dict` passes over: `vars(state)["_metadata"][""]["lewel"]`, JSON.
"""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from lewel.errors import UserError
from lewel.interop import tensor_files, weights
from lewel.interop.given import Features, Given, Read, as_json, filled, resnet, with_mean
from lewel.model.encoder import Encoder, Headless

_KEY = "lewel"


# -- .pth


def pth_state(given: Given) -> OrderedDict[str, Tensor]:
    """A state dict with lewel's record in its metadata."""
    state = OrderedDict(given.state())
    modules = vars(given.backbone.state_dict())["_metadata"]
    vars(state)["_metadata"] = OrderedDict(modules) | {"": {**modules[""], _KEY: as_json(given.record)}}
    return state


def pth_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def pth_record(path: Path) -> dict[str, Any] | None:
    """What `lewel export` wrote beside the tensors; None for a file of another origin."""
    try:
        content = tensor_files.unpickled(path)
    except UserError:
        return None
    metadata = getattr(content.get("state_dict", content), "_metadata", {})
    return json.loads(metadata.get("", {}).get(_KEY, "null"))


# -- torchvision


def torchvision_bytes(given: Given) -> bytes:
    resnet(given, "torchvision")
    return pth_bytes(pth_state(given))


def torchvision_read(path: Path, given: Given) -> Read:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return Read(torchvision_features(resnet(given, "torchvision").name, state), len(state))


def torchvision_features(name: str, state: Mapping[str, Tensor]) -> Any:
    model = cast(Any, torchvision.models.get_model(name, weights=None))
    model.fc = nn.Identity()
    filled(model, state)
    maps = nn.Sequential(*list(model.children())[:-2])

    @torch.no_grad()
    def features(images: Tensor) -> Features:
        return {"map": maps(images), "pooled": model(images)}

    return features


def torchvision_snippet(given: Given, out: Path) -> str:
    return f"""\
import torch, torchvision

model = torchvision.models.{resnet(given, "torchvision").name}()
model.fc = torch.nn.Identity()
model.load_state_dict(torch.load({str(out)!r}, weights_only=True))
images = torch.rand({_shape(given)})  # RGB, 0 to 1
{normalised(given)}
print(model.eval()(images).shape)
"""


# -- timm


def timm_bytes(given: Given) -> bytes:
    return pth_bytes(pth_state(given))


def timm_read(path: Path, given: Given) -> Read:
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(given.encoder.name, num_classes=0)
    if given.encoder.stem == "small":
        cast(Any, model).conv1, cast(Any, model).maxpool = _small_stem(given), nn.Identity()
    return Read(_timm_features(filled(model, state), isinstance(given.encoder, Encoder)), len(state))


def _small_stem(given: Given) -> nn.Conv2d:
    return nn.Conv2d(3, cast(Any, given.backbone).conv1.out_channels, 3, padding=1, bias=False)


def _timm_features(model: Any, has_map: bool) -> Any:
    @torch.no_grad()
    def features(images: Tensor) -> Features:
        return with_mean(model.forward_features(images)) if has_map else {"pooled": model(images)}

    return features


def timm_snippet(given: Given, out: Path) -> str:
    load = f"model.load_state_dict(torch.load({str(out)!r}, weights_only=True))"
    return _with_timm(given, load, "import timm, torch")


# -- safetensors


def safetensors_bytes(given: Given) -> bytes:
    return weights.encoder_bytes(given.encoder, given.record)


def safetensors_read(path: Path, given: Given) -> Read:
    facts, state = weights.read_metadata(path), safetensors.torch.load_file(path)
    has_map = isinstance(given.encoder, Encoder)
    network = Encoder(facts["encoder"], facts["stem"]) if has_map else Headless(facts["encoder"])
    filled(network.backbone, state)
    return Read(Given(network, *given[1:]).features, len(state))


def safetensors_record(path: Path) -> dict[str, Any] | None:
    try:
        found = weights.read_metadata(path)
    except UserError:
        return None
    return found if "export" in found else None


def safetensors_snippet(given: Given, out: Path) -> str:
    load = f"model.load_state_dict(safetensors.torch.load_file({str(out)!r}))"
    return _with_timm(given, load, "import safetensors.torch, timm, torch")


# -- in every snippet


def normalised(given: Given) -> str:
    return (
        f"mean, std = torch.tensor({list(given.mean)}), torch.tensor({list(given.std)})\n"
        "images = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)"
    )


def _shape(given: Given) -> str:
    return f"2, 3, {given.image_size}, {given.image_size}"


def _with_timm(given: Given, load: str, imports: str) -> str:
    lines = [imports, "", f"model = timm.create_model({given.encoder.name!r}, num_classes=0)"]
    if given.encoder.stem == "small":
        width = _small_stem(given).out_channels
        lines.append(f"model.conv1 = torch.nn.Conv2d(3, {width}, 3, padding=1, bias=False)  # the small stem")
        lines.append("model.maxpool = torch.nn.Identity()")
    forward = "model.forward_features" if isinstance(given.encoder, Encoder) else "model"
    lines += [load, "model.eval()", f"images = torch.rand({_shape(given)})  # RGB, 0 to 1", normalised(given)]
    return "\n".join([*lines, f"print({forward}(images).shape)"]) + "\n"
