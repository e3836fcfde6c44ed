"""A folder of one's own images: ResNet-50, 224 px, one GPU, 200 epochs.

Not the paper's: ImageNet-100's rates, scaled to a batch of 128, and what common practice on small data sets changes
(target momentum 0.99 for the methods with a queue). The queue follows the number of images: 5 %, ImageNet's share.
"""

from __future__ import annotations

from lewel.config import Data, Optimizer, Recipe
from lewel.recipes import methods, views
from lewel.recipes.in1k import RESNET50
from lewel.terms import Method

__all__ = [
    "byol_folder",
    "lewel_b_folder",
    "lewel_m_folder",
    "moco_v2_folder",
]

BATCH_SIZE = 128
QUEUE_SHARE = 0.05
PREDICTIVE_MOMENTUM = 0.9975  # 0.98 at 1024 images a step, to the power of 128 / 1024


def moco_v2_folder() -> Recipe:
    """MoCo v2 on a folder of images, 200 epochs.

    Paper: none
    Command: lewel pretrain moco_v2_folder --data images --out moco_v2
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.moco_v2(RESNET50, queue=BATCH_SIZE, momentum=0.99, bn_groups=4)
    return _contrastive("moco_v2_folder", method, lr=0.03)


def byol_folder() -> Recipe:
    """BYOL on a folder of images, 200 epochs.

    Paper: none
    Command: lewel pretrain byol_folder --data images --out byol
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.byol(RESNET50, momentum=PREDICTIVE_MOMENTUM)
    return _predictive("byol_folder", method)


def lewel_m_folder() -> Recipe:
    """LEWEL_M on a folder of images, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_m_folder --data images --out lewel_m
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_m(RESNET50, queue=BATCH_SIZE, momentum=0.99, bn_groups=4)
    return _contrastive("lewel_m_folder", method, lr=0.06)


def lewel_b_folder() -> Recipe:
    """LEWEL_B on a folder of images, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_b_folder --data images --out lewel_b
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_b(RESNET50, momentum=PREDICTIVE_MOMENTUM)
    return _predictive("lewel_b_folder", method)


def _contrastive(name: str, method: Method, lr: float) -> Recipe:
    optimizer = Optimizer("sgd", lr, BATCH_SIZE, 1e-4, exclude="nothing")
    return Recipe(name, method, Data(224, views.symmetric()), optimizer, 200, QUEUE_SHARE, "one GPU, your images")


def _predictive(name: str, method: Method) -> Recipe:
    optimizer = Optimizer("lars", 0.9, BATCH_SIZE, 1e-6, warmup_epochs=10)
    return Recipe(name, method, Data(224, views.asymmetric()), optimizer, 200, note="one GPU, your images")
