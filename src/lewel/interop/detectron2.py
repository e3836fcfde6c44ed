"""For detectron2: its names, its pickle, its config lines, and a reader of them that needs no detectron2.

    conv1, bn1                       stem.conv1, stem.conv1.norm
    layer1.0.conv2, layer1.0.bn2     res2.0.conv2, res2.0.conv2.norm
    layer1.0.downsample.{0,1}        res2.0.shortcut, res2.0.shortcut.norm

The file is a pickle of {"model": {name: numpy array}, "__author__", "matching_heuristics": True, "lewel": record}, of
protocol 3 and with the names of numpy 1, which numpy 2 reads as well. It is read back without running anything in it:
of all that a pickle may call, only what makes an array is known.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lewel.errors import UserError
from lewel.interop.given import Features, Given, Read, ResNet, filled, pixel_numbers, resnet, with_mean
from lewel.version import __version__

TOOL = "detectron2"
_PROTOCOL = 3  # the last without frames, so that names can be exchanged in it
_CALLABLE: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def renamed(name: str) -> str:
    """detectron2's name of a tensor of torchvision's ResNets."""
    if (stage := re.match(r"layer(\d)\.", name)) is None:
        name = f"stem.{name}"
    else:
        name = f"res{int(stage[1]) + 1}.{name[stage.end() :]}"
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")


def to_bytes(given: Given) -> bytes:
    """Raises UserError for what detectron2 has no ResNet for."""
    resnet(given, TOOL)
    content = {
        "model": {renamed(name): tensor.numpy() for name, tensor in given.state().items()},
        "__author__": f"lewel {__version__}",
        "matching_heuristics": True,
        "lewel": json.loads(json.dumps(given.record)),  # plain lists
    }
    return _of_numpy_1(pickle.dumps(content, protocol=_PROTOCOL))


def _of_numpy_1(data: bytes) -> bytes:
    """numpy 2 has moved what makes arrays; numpy 1, with which many run detectron2, finds it by the old name only."""
    pieces, begin = list[bytes](), 0
    for code, name, at in pickletools.genops(data):
        if code.name == "GLOBAL" and str(name).startswith("numpy._core."):
            old = "c{}\n{}\n".format(*str(name).split()).encode()
            pieces += [data[begin:at], old.replace(b"numpy._core.", b"numpy.core.")]
            begin = (at or 0) + len(old)
    return b"".join([*pieces, data[begin:]])


class _Arrays(pickle.Unpickler):
    """Plain containers and arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CALLABLE:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return _CALLABLE[module, name]


def unpickled(path: Path) -> dict[str, Any]:
    """The content of a file that `to_bytes` made. Raises UserError for any other, and calls nothing that it names."""
    try:
        content = _Arrays(io.BytesIO(path.read_bytes())).load()
        assert isinstance(content["model"], dict) and isinstance(content["lewel"], dict)
    except Exception as error:  # of a damaged pickle, any
        raise UserError(f"{path} is no file of lewel export --to detectron2: {error}") from error
    return content


def record(path: Path) -> dict[str, Any] | None:
    """What `lewel export` wrote beside the arrays; None for a file of another origin."""
    try:
        return unpickled(path)["lewel"]
    except UserError:
        return None


def read(path: Path, given: Given) -> Read:
    state = {name: torch.from_numpy(array) for name, array in unpickled(path)["model"].items()}
    network = filled(Network(resnet(given, TOOL)), state)

    @torch.no_grad()
    def features(images: Tensor) -> Features:
        return with_mean(network(images))

    return Read(features, len(state))


def config(given: Given, out: Path) -> str:
    """Lines of a config file in YAML."""
    found = resnet(given, TOOL)
    lines = [f"DEPTH: {found.depth}"]
    lines += ["STRIDE_IN_1X1: False"] if found.bottleneck else ["RES2_OUT_CHANNELS: 64"]
    if (found.groups, found.width) != (1, 64):
        lines += [f"NUM_GROUPS: {found.groups}", f"WIDTH_PER_GROUP: {found.width}"]
    inside = "".join(f"    {line}\n" for line in lines)
    return f"""\
MODEL:
  WEIGHTS: {json.dumps(str(out))}
  PIXEL_MEAN: {pixel_numbers(given.mean)}
  PIXEL_STD: {pixel_numbers(given.std)}
  RESNETS:
{inside}INPUT:
  FORMAT: "RGB"
# MoCo's and LEWEL's protocols also train everything: BACKBONE.FREEZE_AT: 0, RESNETS.NORM: "SyncBN"
"""


def snippet(given: Given, out: Path) -> str:
    return """\
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

cfg = get_cfg()
cfg.merge_from_file("config.yaml")  # the lines above
cfg.MODEL.RESNETS.NORM = "BN"
cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
backbone = build_backbone(cfg)
DetectionCheckpointer(backbone).load(cfg.MODEL.WEIGHTS)
"""


# -- detectron2's ResNet by its documentation: images to res5, under its names


class _Conv(nn.Conv2d):
    """A convolution that has its norm inside it."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class _Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1; the stride is in the first 3x3 (STRIDE_IN_1X1: False)."""

    def __init__(self, inside: int, middle: int, out: int, stride: int, groups: int, bottleneck: bool):
        super().__init__()
        if bottleneck:
            self.conv1 = _Conv(inside, middle, 1)
            self.conv2 = _Conv(middle, middle, 3, stride, groups)
            self.conv3 = _Conv(middle, out, 1)
        else:
            self.conv1, self.conv2 = _Conv(inside, out, 3, stride), _Conv(out, out, 3)
        self.convolutions = [name for name, _ in self.named_children()]
        self.shortcut = None if inside == out else _Conv(inside, out, 1, stride)

    def forward(self, images: Tensor) -> Tensor:
        *first, last = (self.get_submodule(name) for name in self.convolutions)
        found = images
        for convolution in first:
            found = functional.relu(convolution(found))
        return functional.relu(last(found) + (images if self.shortcut is None else self.shortcut(images)))


class Network(nn.Module):
    """`stem` and `res2` to `res5`."""

    def __init__(self, kind: ResNet):
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv1", _Conv(3, 64, 7, 2))
        inside, self.stages = 64, list[nn.Sequential]()
        for stage, count in enumerate(_BLOCKS[kind.depth]):
            out = (256 if kind.bottleneck else 64) * 2**stage
            middle = kind.groups * kind.width * 2**stage
            blocks = nn.Sequential()
            for number in range(count):
                stride = 2 if number == 0 and stage > 0 else 1
                blocks.append(_Block(inside, middle, out, stride, kind.groups, kind.bottleneck))
                inside = out
            self.add_module(f"res{stage + 2}", blocks)
            self.stages.append(blocks)

    def forward(self, images: Tensor) -> Tensor:
        found = functional.max_pool2d(functional.relu(self.stem(images)), kernel_size=3, stride=2, padding=1)
        for stage in self.stages:
            found = stage(found)
        return found
