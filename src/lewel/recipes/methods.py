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

from lewel.config import Encoder, Head, Maps, Method, Objective, Target, Term

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
    head = Head(hidden, dim, norm=False, bias=True, init="linear")
    objective = Objective("queue", temperature, queue)
    terms = (Term(GLOBAL, 1.0, Maps(), head, None, objective),)
    return Method(encoder, terms, _key_network(momentum), "one", bn_groups)


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
    queued = Objective("queue", temperature, queue)
    in_batch = Objective("in_batch", temperature)
    terms = (
        Term(GLOBAL, 1.0 - beta, Maps(), Head(hidden, dim), None, queued),
        Term(ALIGNED, beta, Maps("coupled", groups, source=GLOBAL), Head(hidden, aligned_dim), None, in_batch),
    )
    return Method(encoder, terms, _key_network(momentum), "one", bn_groups)


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
    predictor = Head(hidden, dim, init="normal")
    terms = (Term(GLOBAL, 1.0, Maps(), Head(hidden, dim), predictor, Objective("cosine")),)
    return Method(encoder, terms, _teacher(momentum, batchnorm), "both", bn_groups)


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
    maps = Maps("coupled", groups, source=GLOBAL)
    terms = tuple(
        Term(name, weight, where, Head(hidden, out), Head(hidden, out, init=predictor_init), Objective("cosine"))
        for name, weight, where, out in ((GLOBAL, 1.0 - beta, Maps(), dim), (ALIGNED, beta, maps, aligned_dim))
    )
    return Method(encoder, terms, _teacher(momentum, batchnorm), "both", bn_groups)


def _key_network(momentum: float) -> Target:
    return Target(momentum, "constant", "before", "batch", shuffle=True)


def _teacher(momentum: float, batchnorm: Literal["running", "batch"]) -> Target:
    return Target(momentum, "cosine", "after", batchnorm, shuffle=False)
