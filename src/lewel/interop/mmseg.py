"""For mmsegmentation, mmdetection and the rest of MMEngine: {state_dict, meta}, plain ResNet names, and config lines.

Their ResNets in the style "pytorch" have torchvision's names and its stride in the 3x3 convolutions, so torchvision's
network stands for theirs when a file is read back.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lewel.errors import UserError
from lewel.interop.given import Given, Read, pixel_numbers, resnet
from lewel.interop.state_dicts import pth_bytes, pth_state, torchvision_features

TOOL = "mmseg"


def to_bytes(given: Given) -> bytes:
    """Raises UserError for what MMEngine's tools have no ResNet or ResNeXt for."""
    found = resnet(given, TOOL)
    if found.name.startswith("wide"):
        raise UserError(f"--to mmseg: it has no {found.name}; --to detectron2, torchvision or timm take it")
    return pth_bytes({"state_dict": pth_state(given), "meta": given.record})


def read(path: Path, given: Given) -> Read:
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return Read(torchvision_features(resnet(given, TOOL).name, state), len(state))


def config(given: Given, out: Path) -> str:
    """Lines of a config file in Python."""
    found = resnet(given, TOOL)
    groups = f"\n        groups={found.groups},\n        base_width={found.width}," if found.groups > 1 else ""
    return f"""\
model = dict(
    data_preprocessor=dict(mean={pixel_numbers(given.mean)}, std={pixel_numbers(given.std)}, bgr_to_rgb=True),
    backbone=dict(
        type={"ResNeXt" if groups else "ResNet"!r},
        depth={found.depth},{groups}
        style='pytorch',
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        init_cfg=dict(type='Pretrained', checkpoint={str(out)!r}),
    ),
)
"""


def snippet(given: Given, out: Path) -> str:
    return """\
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

config = Config.fromfile("config.py")  # the lines above; SyncBN needs a GPU, BN does not
init_default_scope("mmseg")
backbone = MODELS.build(config.model.backbone)
backbone.init_weights()
"""
