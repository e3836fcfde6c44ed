"""For 2 CPU cores: `tiny`, minutes on folders of 64 px images, with a twin of every ablation; `demo`, on made scenes.

Not the paper's. `tiny`: ResNet-18 with ImageNet's stem, heads 512 wide, gentle views. `demo`: timm's test_resnet at
64 px, heads 256 wide. The queue follows the number of images. All numbers stand in `TINY` and `DEMO`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lewel.config import Data, Encoder, Optimizer, Recipe
from lewel.recipes import ablations, methods, views
from lewel.recipes.views import Views
from lewel.terms import Method

__all__ = [
    "byol_demo",
    "byol_tiny",
    "lewel_b_demo",
    "lewel_b_tiny",
    "lewel_m_aligned_only_tiny",
    "lewel_m_demo",
    "lewel_m_no_extra_head_tiny",
    "lewel_m_random_maps_tiny",
    "lewel_m_separate_head_tiny",
    "lewel_m_tiny",
    "moco_v2_demo",
    "moco_v2_extra_head_tiny",
    "moco_v2_tiny",
]


@dataclass(frozen=True)
class _Numbers:
    """All numbers of a CPU setting: `contrastive` for MoCo v2 and LEWEL_M, `predictive` for BYOL and LEWEL_B."""

    setting: str
    epochs: int
    image_size: int
    encoder: Encoder
    views: Callable[[Views], Views] = views.gentle
    batch: int = 64
    hidden: int = 512
    dim: int = 128
    groups: int = 4
    bn_groups: int = 2  # ShuffleBN: groups of 32 images
    queue_share: float = 0.05
    momentum: float = 0.99
    lr_contrastive: float = 0.03
    lr_predictive: float = 0.12
    decay_contrastive: float = 1e-4
    decay_predictive: float = 5e-4
    warmup_predictive: int = 1
    batchnorm_predictive: Literal["running", "batch"] = "batch"  # EMAN nearly collapses in the first hundred steps
    predictor_init: Literal["kaiming", "normal"] = "normal"  # or the encoder loses most of its dimensions in as many


# tiny: blocks that begin as shortcuts need some hundred steps to open, and then learn far more
TINY = _Numbers("tiny", epochs=5, image_size=64, encoder=Encoder("resnet18", "imagenet", zero_init_last=True))
DEMO = _Numbers(
    "demo",
    epochs=10,
    image_size=64,
    encoder=Encoder("test_resnet"),
    views=views.wide,
    hidden=256,
    dim=64,
    lr_contrastive=0.06,
)


def moco_v2_tiny() -> Recipe:
    """MoCo v2, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain moco_v2_tiny --data images --out moco_v2
    Cost: 17 min on one Zen 5 core in bf16 for 24,950 images
    Expected: nothing published
    Measured: kNN 12.2 -> 23.7 on 50 classes of Tiny-ImageNet (n = 1)
    """
    return _contrastive(TINY, "moco_v2", _moco_v2(TINY))


def byol_tiny() -> Recipe:
    """BYOL, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain byol_tiny --data images --out byol
    Cost: 25 min on one Zen 5 core in bf16 for 24,950 images
    Expected: nothing published
    Measured: kNN 12.2 -> 23.9 on 50 classes of Tiny-ImageNet (n = 1)
    """
    return _predictive(TINY, "byol", _byol(TINY))


def lewel_m_tiny() -> Recipe:
    """LEWEL_M, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain lewel_m_tiny --data images --out lewel_m
    Cost: 19 min on one Zen 5 core in bf16 for 24,950 images
    Expected: nothing published
    Measured: kNN 12.2 -> 26.0 on 50 classes of Tiny-ImageNet (n = 1)
    """
    return _contrastive(TINY, "lewel_m", _lewel_m(TINY))


def lewel_b_tiny() -> Recipe:
    """LEWEL_B, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain lewel_b_tiny --data images --out lewel_b
    Cost: 28 min on one Zen 5 core in bf16 for 24,950 images
    Expected: nothing published
    Measured: kNN 12.2 -> 24.8 on 50 classes of Tiny-ImageNet (n = 1)
    """
    return _predictive(TINY, "lewel_b", _lewel_b(TINY))


def moco_v2_demo() -> Recipe:
    """MoCo v2 on made scenes, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain moco_v2_demo --data lewel-demo/images --out moco_v2
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    return _contrastive(DEMO, "moco_v2", _moco_v2(DEMO))


def byol_demo() -> Recipe:
    """BYOL on made scenes, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain byol_demo --data lewel-demo/images --out byol
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    return _predictive(DEMO, "byol", _byol(DEMO))


def lewel_m_demo() -> Recipe:
    """LEWEL_M on made scenes, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain lewel_m_demo --data lewel-demo/images --out lewel_m
    Cost: 2 min on one AVX2 core in fp32, 3.3 min with `lewel demo`'s evaluations
    Expected: nothing published
    Measured: kNN +10.9 to +23.6 points, linear-fast +14.5 to +28.4 (5 seeds, `lewel demo`)
    """
    return _contrastive(DEMO, "lewel_m", _lewel_m(DEMO))


def lewel_b_demo() -> Recipe:
    """LEWEL_B on made scenes, minutes on 2 CPU cores.

    Paper: none
    Command: lewel pretrain lewel_b_demo --data lewel-demo/images --out lewel_b
    Cost: not measured yet
    Expected: nothing published
    Measured: not measured yet
    """
    return _predictive(DEMO, "lewel_b", _lewel_b(DEMO))


def lewel_m_aligned_only_tiny() -> Recipe:
    """LEWEL_M, minutes on 2 CPU cores: no global loss: g only makes the maps.

    Paper: Table 5, aligned only, in small
    Command: lewel pretrain lewel_m_aligned_only_tiny --data images --out lewel_m_aligned_only
    Cost: not measured yet
    Expected: nothing published at this size
    Measured: not measured yet
    """
    method = ablations.aligned_only(_lewel_m(TINY))
    return _contrastive(TINY, "lewel_m_aligned_only", method, note="no global loss: g only makes the maps")


def lewel_m_separate_head_tiny() -> Recipe:
    """LEWEL_M, minutes on 2 CPU cores: the maps come from a head of their own.

    Paper: Table 5, without coupled head, in small
    Command: lewel pretrain lewel_m_separate_head_tiny --data images --out lewel_m_separate_head
    Cost: not measured yet
    Expected: nothing published at this size
    Measured: not measured yet
    """
    method = ablations.separate_head(_lewel_m(TINY))
    return _contrastive(TINY, "lewel_m_separate_head", method, note="the maps come from a head of their own")


def lewel_m_random_maps_tiny() -> Recipe:
    """LEWEL_M, minutes on 2 CPU cores: the maps are noise.

    Paper: Table 6, LEWEL_M with random W, in small
    Command: lewel pretrain lewel_m_random_maps_tiny --data images --out lewel_m_random_maps
    Cost: not measured yet
    Expected: nothing published at this size
    Measured: not measured yet
    """
    method = ablations.random_maps(_lewel_m(TINY))
    return _contrastive(TINY, "lewel_m_random_maps", method, note="the maps are noise")


def lewel_m_no_extra_head_tiny() -> Recipe:
    """LEWEL_M, minutes on 2 CPU cores: g also projects the aligned vectors.

    Paper: Table 6, LEWEL_M without extra head, in small
    Command: lewel pretrain lewel_m_no_extra_head_tiny --data images --out lewel_m_no_extra_head
    Cost: not measured yet
    Expected: nothing published at this size
    Measured: not measured yet
    """
    method = ablations.no_extra_head(_lewel_m(TINY))
    return _contrastive(TINY, "lewel_m_no_extra_head", method, note="g also projects the aligned vectors")


def moco_v2_extra_head_tiny() -> Recipe:
    """MoCo v2, minutes on 2 CPU cores: a second head and queue on the pooled vector.

    Paper: Table 6, MoCo v2 with extra head, in small
    Command: lewel pretrain moco_v2_extra_head_tiny --data images --out moco_v2_extra_head
    Cost: not measured yet
    Expected: nothing published at this size
    Measured: not measured yet
    """
    method = ablations.extra_head(_moco_v2(TINY))
    return _contrastive(TINY, "moco_v2_extra_head", method, note="a second head and queue on the pooled vector")


def _moco_v2(n: _Numbers) -> Method:
    return methods.moco_v2(
        n.encoder, hidden=n.hidden, dim=n.dim, queue=n.batch, momentum=n.momentum, bn_groups=n.bn_groups
    )


def _lewel_m(n: _Numbers) -> Method:
    return methods.lewel_m(
        n.encoder,
        hidden=n.hidden,
        dim=n.dim,
        aligned_dim=n.dim,
        groups=n.groups,
        queue=n.batch,
        momentum=n.momentum,
        bn_groups=n.bn_groups,
    )


def _byol(n: _Numbers) -> Method:
    return methods.byol(n.encoder, hidden=n.hidden, dim=n.dim, momentum=n.momentum, batchnorm=n.batchnorm_predictive)


def _lewel_b(n: _Numbers) -> Method:
    return methods.lewel_b(
        n.encoder,
        hidden=n.hidden,
        dim=n.dim,
        aligned_dim=n.dim,
        groups=n.groups,
        momentum=n.momentum,
        batchnorm=n.batchnorm_predictive,
        predictor_init=n.predictor_init,
    )


def _contrastive(n: _Numbers, row: str, method: Method, note: str = "2 CPU cores") -> Recipe:
    optimizer = Optimizer("sgd", n.lr_contrastive, n.batch, n.decay_contrastive, exclude="nothing", decay_per="step")
    data = Data(n.image_size, n.views(views.small(views.symmetric(), n.image_size)))
    return Recipe(f"{row}_{n.setting}", method, data, optimizer, n.epochs, n.queue_share, note)


def _predictive(n: _Numbers, row: str, method: Method, note: str = "2 CPU cores") -> Recipe:
    optimizer = Optimizer(
        "sgd",
        n.lr_predictive,
        n.batch,
        n.decay_predictive,
        exclude="nothing",
        warmup_epochs=n.warmup_predictive,
        decay_per="step",
    )
    data = Data(n.image_size, n.views(views.small(views.asymmetric(), n.image_size)))
    return Recipe(f"{row}_{n.setting}", method, data, optimizer, n.epochs, note=note)
