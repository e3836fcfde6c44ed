"""DenseCL (Wang et al., 2021): a row of the equation. MoCo v2's term, and one whose rows are all positions.

terms    uniform + queue,   pixel + queue, rows paired by match      directions  one      target  as MoCo v2's
heads    as MoCo v2's, one each; the dense queue takes the mean over an image's positions
"""

from __future__ import annotations

from lewel.config import Data, Encoder, Optimizer, Recipe
from lewel.recipes import views
from lewel.terms import MLP, ONE_WAY, Match, Method, Momentum, Pixel, Queue, Term, Uniform

__all__ = ["densecl_in1k_200ep", "densecl_tiny"]


def densecl(
    encoder: Encoder,
    *,
    hidden: int = 2048,
    dim: int = 128,
    queue: int = 65536,
    beta: float = 0.5,
    momentum: float = 0.999,
    bn_groups: int | None = None,
) -> Method:
    """The method. beta: weight of the dense term, as the paper's lambda."""
    head = MLP(dim, (hidden,), norm=False, bias="all", init="linear")
    terms = (
        Term("global", 1 - beta, Uniform(), head, None, Queue(0.2, queue)),
        Term("dense", beta, Pixel(), head, None, Queue(0.2, queue, takes="mean"), Match()),
    )
    target = Momentum(momentum, "constant", "before", "batch", shuffle=True)
    return Method(encoder, terms, target, ONE_WAY, bn_groups)


def densecl_in1k_200ep() -> Recipe:
    """DenseCL, ImageNet-1k, 200 epochs. The first weights are drawn as everywhere here, not by its fan-in rule.

    Paper: none
    Command: torchrun --nproc-per-node 8 -m lewel pretrain densecl_in1k_200ep --data imagenet --out densecl
    Cost: not measured yet
    Expected: 63.3 to 63.6; detection on VOC 58.7 AP, segmentation 69.4 mIoU (its authors)
    Measured: not measured yet
    """
    optimizer = Optimizer("sgd", 0.03, 256, 1e-4, exclude="nothing")
    method = densecl(Encoder("resnet50"))
    return Recipe("densecl_in1k_200ep", method, Data(224, views.symmetric()), optimizer, 200, note="8 GPUs")


def densecl_tiny() -> Recipe:
    """DenseCL, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain densecl_tiny --data images --out densecl
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    encoder = Encoder("resnet18", zero_init_last=True)
    method = densecl(encoder, hidden=512, queue=64, momentum=0.99, bn_groups=2)
    data = Data(64, views.gentle(views.small(views.symmetric(), 64)))
    optimizer = Optimizer("sgd", 0.03, 64, 1e-4, exclude="nothing", decay_per="step")
    return Recipe("densecl_tiny", method, data, optimizer, 5, 0.05, "2 CPU cores")
