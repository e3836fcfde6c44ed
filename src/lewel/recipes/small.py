"""Small images on one small GPU: CIFAR-10 (32 px), and folders of 64 px images. ResNet-18 with the small stem.

Not the paper's: the numbers are our choice, after ImageNet-100's rates and common practice on CIFAR-10 (crops from 0.08
of the area, no blur at 32 px, target momentum 0.99, stronger decay for SGD). On one GPU a batch of 512 is split into 8
groups of 64 for ShuffleBN, as over the 8 GPUs of the published runs.
"""

from __future__ import annotations

from lewel.config import Data, Encoder, Optimizer, Recipe
from lewel.recipes import methods, views
from lewel.terms import Method

__all__ = [
    "byol_cifar10",
    "byol_px64",
    "lewel_b_cifar10",
    "lewel_b_px64",
    "lewel_m_cifar10",
    "lewel_m_px64",
    "moco_v2_cifar10",
    "moco_v2_px64",
]

RESNET18 = Encoder("resnet18", "small")
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2470, 0.2435, 0.2616)


def moco_v2_cifar10() -> Recipe:
    """MoCo v2, CIFAR-10, 200 epochs.

    Paper: none
    Command: lewel pretrain moco_v2_cifar10 --data cifar10 --out moco_v2
    Cost: not measured yet
    Expected: kNN 89.9 at 800 epochs (lightly), linear 92.9 at 1000 (solo-learn): other settings, for orientation
    Measured: not measured yet
    """
    method = methods.moco_v2(RESNET18, hidden=2048, queue=4096, momentum=0.99, bn_groups=8)
    return _contrastive("moco_v2_cifar10", method, _cifar10(views.symmetric()))


def byol_cifar10() -> Recipe:
    """BYOL, CIFAR-10, 200 epochs.

    Paper: none
    Command: lewel pretrain byol_cifar10 --data cifar10 --out byol
    Cost: not measured yet
    Expected: kNN 91.0 at 800 epochs (lightly), linear 92.6 at 1000 (solo-learn): other settings, for orientation
    Measured: not measured yet
    """
    method = methods.byol(RESNET18, hidden=2048, momentum=0.99)
    return _predictive("byol_cifar10", method, _cifar10(views.asymmetric()))


def lewel_m_cifar10() -> Recipe:
    """LEWEL_M, CIFAR-10, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_m_cifar10 --data cifar10 --out lewel_m
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_m(RESNET18, hidden=2048, queue=4096, momentum=0.99, bn_groups=8)
    return _contrastive("lewel_m_cifar10", method, _cifar10(views.symmetric()))


def lewel_b_cifar10() -> Recipe:
    """LEWEL_B, CIFAR-10, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_b_cifar10 --data cifar10 --out lewel_b
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_b(RESNET18, hidden=2048, momentum=0.99)
    return _predictive("lewel_b_cifar10", method, _cifar10(views.asymmetric()))


def moco_v2_px64() -> Recipe:
    """MoCo v2, 64 px images, 200 epochs.

    Paper: none
    Command: lewel pretrain moco_v2_px64 --data images --out moco_v2
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.moco_v2(RESNET18, hidden=2048, queue=4096, momentum=0.99, bn_groups=8)
    return _contrastive("moco_v2_px64", method, _px64(views.symmetric()))


def byol_px64() -> Recipe:
    """BYOL, 64 px images, 200 epochs.

    Paper: none
    Command: lewel pretrain byol_px64 --data images --out byol
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.byol(RESNET18, hidden=2048, momentum=0.99)
    return _predictive("byol_px64", method, _px64(views.asymmetric()))


def lewel_m_px64() -> Recipe:
    """LEWEL_M, 64 px images, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_m_px64 --data images --out lewel_m
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_m(RESNET18, hidden=2048, queue=4096, momentum=0.99, bn_groups=8)
    return _contrastive("lewel_m_px64", method, _px64(views.symmetric()))


def lewel_b_px64() -> Recipe:
    """LEWEL_B, 64 px images, 200 epochs.

    Paper: none
    Command: lewel pretrain lewel_b_px64 --data images --out lewel_b
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    method = methods.lewel_b(RESNET18, hidden=2048, momentum=0.99)
    return _predictive("lewel_b_px64", method, _px64(views.asymmetric()))


def _cifar10(pair: views.Views) -> Data:
    return Data(32, views.small(pair, 32), CIFAR_MEAN, CIFAR_STD)


def _px64(pair: views.Views) -> Data:
    return Data(64, views.small(pair, 64))


def _contrastive(name: str, method: Method, data: Data) -> Recipe:
    optimizer = Optimizer("sgd", 0.24, 512, 5e-4, exclude="nothing")
    return Recipe(name, method, data, optimizer, 200, note="one small GPU")


def _predictive(name: str, method: Method, data: Data) -> Recipe:
    optimizer = Optimizer("lars", 3.6, 512, 1e-6, warmup_epochs=10)
    return Recipe(name, method, data, optimizer, 200, note="one small GPU")
