"""Rename tensors to timm's names. Every rule keeps what stands before the encoder's own part of a name.

    dialect         example                                              timm
    timm            layer1.0.conv1.weight                                the same (torchvision, mmseg too)
    shortcut        layer2.0.shortcut.0.weight                           layer2.0.downsample.0.weight
    children        0.weight, 1.weight, 4.0.conv1.weight                 conv1.weight, bn1.weight, layer1.0.conv1.weight
    transformers    encoder.stages.0.layers.0.layer.1.convolution.weight   layer1.0.conv2.weight

`children` is `nn.Sequential(*list(resnet.children())[:-1])`: the places of the stages tell which layers are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Rename = Callable[[str], str]

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_FIRST_BLOCK = re.compile(r"(.*?)(\d+)\.0\.conv1\.weight")
_STAGES = 4


def unwrapped(name: str) -> str:
    """Without what torch.compile, FSDP and activation checkpointing put into names, wherever they do."""
    return _WRAPPERS.sub("", name)


def of(names: Iterable[str]) -> list[Rename]:
    """The renamings to try, plain names first."""
    return [lambda name: name, _shortcut, *_children(names), _transformers]


def _shortcut(name: str) -> str:
    return re.sub(r"(layer\d\.\d+\.)shortcut\.", r"\1downsample.", name)


def _children(names: Iterable[str]) -> list[Rename]:
    """One for each prefix below which four numbered children are stages of blocks."""
    places: dict[str, list[int]] = {}
    for name in names:
        if found := _FIRST_BLOCK.fullmatch(name):
            places.setdefault(found[1], []).append(int(found[2]))
    return [_by_place(prefix, sorted(each)) for prefix, each in places.items() if len(each) == _STAGES]


def _by_place(prefix: str, stages: list[int]) -> Rename:
    modules = {"0": "conv1", "1": "bn1"} | {str(place): f"layer{stage + 1}" for stage, place in enumerate(stages)}

    def rename(name: str) -> str:
        if not name.startswith(prefix):
            return name
        place, _, rest = name.removeprefix(prefix).partition(".")
        return _shortcut(f"{prefix}{modules.get(place, place)}.{rest}")

    return rename


def _transformers(name: str) -> str:
    name = re.sub(r"embedder\.embedder\.convolution\.", "conv1.", name)
    name = re.sub(r"embedder\.embedder\.normalization\.", "bn1.", name)
    stage = re.search(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", name)
    if stage is None:
        return name
    before, rest = name[: stage.start()], name[stage.end() :]
    rest = re.sub(r"^layer\.(\d+)\.convolution\.", lambda m: f"conv{int(m[1]) + 1}.", rest)
    rest = re.sub(r"^layer\.(\d+)\.normalization\.", lambda m: f"bn{int(m[1]) + 1}.", rest)
    rest = rest.replace("shortcut.convolution.", "downsample.0.").replace("shortcut.normalization.", "downsample.1.")
    return f"{before}layer{int(stage[1]) + 1}.{stage[2]}.{rest}"
