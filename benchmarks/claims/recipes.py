"""The arms of the claims: one function each, all of one setting, so that two arms differ in one cell alone.

`lewel pretrain benchmarks/claims/recipes.py:lewel_m` is an arm; docs/claims.md says which claims it serves.
"""

from __future__ import annotations

from dataclasses import replace

from lewel.config import Data, Encoder, Optimizer, Recipe
from lewel.recipes import ablations, methods, views
from lewel.terms import Maps, Method

SIZE = 32
ENCODER = Encoder("claims_resnet_32", zero_init_last=True)
HIDDEN, DIM, GROUPS, QUEUE = 256, 128, 4, 2048
BATCH, BN_GROUPS, MOMENTUM = 64, 2, 0.99
EPOCHS = 3


def moco_v2() -> Recipe:
    """MoCo v2."""
    return _contrastive("moco_v2", _moco_v2())


def moco_v2_extra_head() -> Recipe:
    """MoCo v2 with a second head, loss and queue on the pooled vector (Table 6)."""
    return _contrastive("moco_v2_extra_head", ablations.extra_head(_moco_v2()))


def lewel_m() -> Recipe:
    """LEWEL_M: coupled maps, h = 4."""
    return _contrastive("lewel_m", _lewel_m())


def lewel_m_separate_head() -> Recipe:
    """LEWEL_M whose maps come from a head of their own (Table 5)."""
    return _contrastive("lewel_m_separate_head", ablations.separate_head(_lewel_m()))


def lewel_m_aligned_only() -> Recipe:
    """LEWEL_M without the global loss (Table 5)."""
    return _contrastive("lewel_m_aligned_only", ablations.aligned_only(_lewel_m()))


def lewel_m_random_maps() -> Recipe:
    """LEWEL_M with maps of noise (Table 6)."""
    return _contrastive("lewel_m_random_maps", ablations.random_maps(_lewel_m()))


def lewel_m_uniform_maps() -> Recipe:
    """LEWEL_M with maps that are 1/p everywhere: the aligned loss, its head and its negatives without a place to look.

    Not in the paper. It separates "a second loss on channel groups" from "maps".
    """
    method = ablations.random_maps(_lewel_m())
    return _contrastive("lewel_m_uniform_maps", _with_temperature(method, 1e9))


def lewel_m_groups_1() -> Recipe:
    """LEWEL_M, h = 1: one map an embedding, over all channels (Table 7's axis, which the paper shows for LEWEL_B)."""
    return _contrastive("lewel_m_groups_1", _lewel_m(groups=1))


def lewel_m_temperature_03() -> Recipe:
    """LEWEL_M, softmax(M / 0.3)."""
    return _contrastive("lewel_m_temperature_03", _with_temperature(_lewel_m(), 0.3))


def lewel_m_temperature_01() -> Recipe:
    """LEWEL_M, softmax(M / 0.1)."""
    return _contrastive("lewel_m_temperature_01", _with_temperature(_lewel_m(), 0.1))


def byol() -> Recipe:
    """BYOL, target in train mode."""
    method = methods.byol(ENCODER, hidden=HIDDEN, dim=DIM, momentum=MOMENTUM, batchnorm="batch")
    return _predictive("byol", method)


def lewel_b() -> Recipe:
    """LEWEL_B, target in train mode, BYOL's start of the predictors."""
    return _predictive("lewel_b", _lewel_b())


def lewel_b_groups_1() -> Recipe:
    """LEWEL_B, h = 1 (Table 7)."""
    return _predictive("lewel_b_groups_1", _lewel_b(groups=1))


def _moco_v2() -> Method:
    return methods.moco_v2(ENCODER, hidden=HIDDEN, dim=DIM, queue=QUEUE, momentum=MOMENTUM, bn_groups=BN_GROUPS)


def _lewel_m(groups: int = GROUPS) -> Method:
    return methods.lewel_m(
        ENCODER, hidden=HIDDEN, dim=DIM, aligned_dim=DIM, groups=groups, queue=QUEUE, momentum=MOMENTUM,
        bn_groups=BN_GROUPS,
    )  # fmt: skip


def _lewel_b(groups: int = GROUPS) -> Method:
    return methods.lewel_b(
        ENCODER, hidden=HIDDEN, dim=DIM, aligned_dim=DIM, groups=groups, momentum=MOMENTUM, batchnorm="batch",
        predictor_init="normal",
    )  # fmt: skip


def _with_maps(method: Method, maps: Maps) -> Method:
    whole, aligned = method.terms
    return replace(method, terms=(whole, replace(aligned, maps=maps)))


def _with_temperature(method: Method, temperature: float) -> Method:
    _, aligned = method.terms
    return _with_maps(method, replace(aligned.maps, temperature=temperature))


def _contrastive(name: str, method: Method) -> Recipe:
    optimizer = Optimizer("sgd", 0.03, BATCH, 1e-4, exclude="nothing", decay_per="step")
    return Recipe(name, method, Data(SIZE, views.gentle(views.small(views.symmetric(), SIZE))), optimizer, EPOCHS)


def _predictive(name: str, method: Method) -> Recipe:
    optimizer = Optimizer("sgd", 0.12, BATCH, 5e-4, exclude="nothing", warmup_epochs=1, decay_per="step")
    return Recipe(name, method, Data(SIZE, views.gentle(views.small(views.asymmetric(), SIZE))), optimizer, EPOCHS)
