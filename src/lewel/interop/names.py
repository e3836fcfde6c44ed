"""Published parameter names to ours, one rule a line.

    LEWEL_B     module.{online_net,target_net}.{backbone.*, neck.proj.mlp.*, neck.proj_obj.mlp.*},
                module.predictor{,_obj}.mlp.*
    BYOL-EMAN   the same with neck.mlp.* and module.predictor.mlp.*
    MoCo v2     module.encoder_{q,k}.{*, fc.0.*, fc.2.*}, module.queue, module.queue_ptr
    bare        conv1.weight, layer1.0.conv1.weight, ...: torchvision's names, timm's too

Their 1x1 convolutions over positions (o, i, 1) are our linear layers over rows (o, i).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

_BRANCH = {"online_net": "online", "target_net": "target.branch", "encoder_q": "online", "encoder_k": "target.branch"}
_TERM = {"": "global", "_obj": "aligned"}
_MLP = {"0": "hidden", "1": "norm", "3": "out"}
_FC = {"0": "hidden", "2": "out"}

_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(online_net|target_net)\.backbone\.(.+)"), lambda m: f"{_BRANCH[m[1]]}.encoder.backbone.{m[2]}"),
    (
        re.compile(r"(online_net|target_net)\.neck\.(?:proj(_obj)?\.)?mlp\.([013])\.(.+)"),
        lambda m: f"{_BRANCH[m[1]]}.projectors.{_TERM[m[2] or '']}.{_MLP[m[3]]}.{m[4]}",
    ),
    (
        re.compile(r"predictor(_obj)?\.mlp\.([013])\.(.+)"),
        lambda m: f"predictors.{_TERM[m[1] or '']}.{_MLP[m[2]]}.{m[3]}",
    ),
    (
        re.compile(r"(encoder_[qk])\.fc\.([02])\.(.+)"),
        lambda m: f"{_BRANCH[m[1]]}.projectors.global.{_FC[m[2]]}.{m[3]}",
    ),
    (re.compile(r"(encoder_[qk])\.(?!fc\.)(.+)"), lambda m: f"{_BRANCH[m[1]]}.encoder.backbone.{m[2]}"),
    (re.compile(r"(queue|queue_ptr)"), lambda m: f"objectives.global.{m[1]}"),
)


def ours(name: str) -> str | None:
    """Our name of a published tensor, or None when no rule knows it. A leading "module." (DDP) is dropped."""
    name = name.removeprefix("module.")
    for pattern, rename in _RULES:
        if match := pattern.fullmatch(name):
            return rename(match)
    return None


def in_our_shape(name: str, tensor: Tensor) -> Tensor:
    """1x1 Conv1d weights to linear ones, the queue's pointer (1,) to ()."""
    if name.endswith("queue_ptr"):
        return tensor.reshape(())
    if tensor.ndim == 3 and tensor.shape[2] == 1:
        return tensor.squeeze(2)
    return tensor
