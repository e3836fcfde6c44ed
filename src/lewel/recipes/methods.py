"""The four rows of the table in `docs/equation.md`, as functions of a few numbers; the defaults are the published ones.

                terms                                       head                      directions  target
    moco_v2     uniform + queue                             biases, no BN             one         constant m, ShuffleBN
    byol        uniform + cosine                            BN, no biases, predictor  both        cosine m, EMAN
    lewel_m     uniform + queue,  coupled + in-batch        BN, no biases             one         as moco_v2
    lewel_b     uniform + cosine, coupled + cosine          as byol, one each         both        as byol

`beta` multiplies the aligned term and 1 - beta the global one (the paper leaves the side open; equal at its 0.5).
"""

from __future__ import annotations

from typing import Literal

from lewel.config import Encoder
from lewel.terms import BOTH_WAYS, MLP, ONE_WAY, Cosine, Coupled, InBatch, Method, Momentum, Queue, Term, Uniform

GLOBAL = "global"
ALIGNED = "aligned"


def moco_v2(
    encoder: Encoder,
    *,
    hidden: int = 2048,
    dim: int = 128,
    queue: int = 65536,
    temperature: float = 0.2,
    momentum: float = 0.999,
    bn_groups: int | None = None,
) -> Method:
    """MoCo v2: one global embedding against a queue of old keys."""
    head = MLP(dim, (hidden,), norm=False, bias="all", init="linear")
    terms = (Term(GLOBAL, 1.0, Uniform(), head, None, Queue(temperature, queue)),)
    return Method(encoder, terms, _key_network(momentum), ONE_WAY, bn_groups)


def lewel_m(
    encoder: Encoder,
    *,
    hidden: int = 2048,
    dim: int = 128,
    aligned_dim: int = 128,
    groups: int = 4,
    beta: float = 0.5,
    queue: int = 65536,
    temperature: float = 0.2,
    momentum: float = 0.999,
    bn_groups: int | None = None,
) -> Method:
    """LEWEL_M: MoCo v2's term plus dim / groups aligned embeddings, whose negatives are those of the other images."""
    terms = (
        Term(GLOBAL, 1.0 - beta, Uniform(), MLP(dim, (hidden,)), None, Queue(temperature, queue)),
        Term(ALIGNED, beta, Coupled(groups, GLOBAL), MLP(aligned_dim, (hidden,)), None, InBatch(temperature)),
    )
    return Method(encoder, terms, _key_network(momentum), ONE_WAY, bn_groups)


def byol(
    encoder: Encoder,
    *,
    hidden: int = 4096,
    dim: int = 256,
    momentum: float = 0.98,
    batchnorm: Literal["running", "batch"] = "running",
    bn_groups: int | None = None,
) -> Method:
    """BYOL: one global embedding, predicted. The default target is EMAN's ("running")."""
    predictor = MLP(dim, (hidden,), init="normal")
    terms = (Term(GLOBAL, 1.0, Uniform(), MLP(dim, (hidden,)), predictor, Cosine()),)
    return Method(encoder, terms, _teacher(momentum, batchnorm), BOTH_WAYS, bn_groups)


def lewel_b(
    encoder: Encoder,
    *,
    hidden: int = 4096,
    dim: int = 256,
    aligned_dim: int = 256,
    groups: int = 4,
    beta: float = 0.5,
    momentum: float = 0.98,
    batchnorm: Literal["running", "batch"] = "running",
    bn_groups: int | None = None,
    predictor_init: Literal["kaiming", "normal"] = "kaiming",
) -> Method:
    """LEWEL_B: BYOL's term plus dim / groups aligned embeddings with a projector and a predictor of their own.

    predictor_init: "kaiming" as published. "normal", BYOL's N(0, 0.01), is for short runs: a small predictor turns
    quickly, and the encoder does not give up its dimensions meanwhile (docs/log.md).
    """
    rows = ((GLOBAL, 1.0 - beta, Uniform(), dim), (ALIGNED, beta, Coupled(groups, GLOBAL), aligned_dim))
    terms = tuple(
        Term(name, weight, maps, MLP(out, (hidden,)), MLP(out, (hidden,), init=predictor_init), Cosine())
        for name, weight, maps, out in rows
    )
    return Method(encoder, terms, _teacher(momentum, batchnorm), BOTH_WAYS, bn_groups)


def _key_network(momentum: float) -> Momentum:
    return Momentum(momentum, "constant", "before", "batch", shuffle=True)


def _teacher(momentum: float, batchnorm: Literal["running", "batch"]) -> Momentum:
    return Momentum(momentum, "cosine", "after", batchnorm, shuffle=False)
