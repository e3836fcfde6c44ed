"""What the models are made of, counted by hand from the papers' structures; weights of nothing are made."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights

from lewel.evaluate.dense.detection.model import build
from lewel.evaluate.dense.tasks import Detection
from lewel.evaluate.protocols import PROTOCOLS
from lewel.model.encoder import Encoder


def block(wide: int, narrow: int, came_with: int) -> int:
    """1x1, 3x3, 1x1, each with a norm; 1x1 and norm beside them where the width changes."""
    main = came_with * narrow + 9 * narrow * narrow + narrow * wide + 2 * (narrow + narrow + wide)
    return main + (came_with * wide + 2 * wide if came_with != wide else 0)


def stage(wide: int, came_with: int, blocks: int) -> int:
    return block(wide, wide // 4, came_with) + (blocks - 1) * block(wide, wide // 4, wide)


RESNET50 = {
    "conv1": 7 * 7 * 3 * 64,
    "bn1": 2 * 64,
    "layer1": stage(256, 64, 3),
    "layer2": stage(512, 256, 4),
    "layer3": stage(1024, 512, 6),
    "layer4": stage(2048, 1024, 3),
}


def count(module: nn.Module | None) -> int:
    return sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0


def made(protocol: str, classes: int) -> nn.Module:
    task = PROTOCOLS[protocol].task
    assert isinstance(task, Detection)
    with torch.device("meta"):
        return build(Encoder("resnet50"), task, classes)


def by_stage(module: nn.Module) -> dict[str, int]:
    return {
        name: count(child) for name, child in module.get_submodule("encoder.backbone").named_children() if count(child)
    }


def by_part(module: nn.Module) -> dict[str, int]:
    return {name: count(child) for name, child in module.named_children() if name != "encoder" and count(child)}


def test_resnet50_has_its_published_parameters() -> None:
    """25,557,032 with its classifier of 1000 classes (torchvision)."""
    assert sum(RESNET50.values()) == 25_557_032 - (2048 * 1000 + 1000)


def test_voc_c4() -> None:
    model = made("detect-voc-c4", 20)
    assert by_stage(model) == RESNET50
    assert by_part(model) == {
        "proposals": 9 * 1024 * 1024 + 1024 + 1024 * 15 + 15 + 1024 * 60 + 60,
        "extra_norm": 2 * 2048,
        "predictor": 2048 * 21 + 21 + 2048 * 80 + 80,
    }
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_coco_c4_with_masks() -> None:
    model = made("detect-coco-c4", 80)
    assert by_stage(model) == RESNET50
    assert by_part(model) == {
        "proposals": 9 * 1024 * 1024 + 1024 + 1024 * 15 + 15 + 1024 * 60 + 60,
        "extra_norm": 2 * 2048,
        "predictor": 2048 * 81 + 81 + 2048 * 320 + 320,
        "mask_head": 2 * 2 * 2048 * 256 + 256 + 256 * 80 + 80,
    }


def test_coco_fpn_with_masks() -> None:
    model = made("detect-coco-fpn", 80)
    four = 4 * (9 * 256 * 256 + 2 * 256)  # convolutions without bias, each with a norm
    assert by_stage(model) == RESNET50
    assert by_part(model) == {
        "neck": (256 + 512 + 1024 + 2048) * 256 + 4 * 2 * 256 + four,
        "proposals": 9 * 256 * 256 + 256 + 256 * 3 + 3 + 256 * 12 + 12,
        "box_head": four + 7 * 7 * 256 * 1024 + 1024,
        "predictor": 1024 * 81 + 81 + 1024 * 320 + 320,
        "mask_head": four + 2 * 2 * 256 * 256 + 256 + 256 * 80 + 80,
    }


def test_fpn_is_what_torchvision_publishes_but_for_what_differs() -> None:
    """Its second version: one convolution more in the RPN, 91 classes with background, which has a box and a mask."""
    more = 9 * 256 * 256 + 256 + (91 - 81) * 1025 + 4 * (91 - 80) * 1025 + (91 - 80) * 257
    assert MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["num_params"] == count(made("detect-coco-fpn", 80)) + more
