"""LEWEL_M has no published code: its equations, written out in loops, against the package, in float64.

Nothing of the package computes the expected numbers. The loops see images, aligned embeddings, channels and positions
one by one, in the paper's letters: F features, M heat-maps, W alignment maps, g and g_o projectors, z and u embeddings.
"""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor

from lewel import build, terms

GROUPS = 2  # h of the paper
TAU_QUEUE, TAU_BATCH, BETA = 0.2, 0.3, 0.3


def norm(vector: Tensor) -> Tensor:
    return vector / (vector * vector).sum().sqrt()


def batch_norm(rows: list[Tensor], weight: Tensor, bias: Tensor) -> list[Tensor]:
    """Over the rows, feature by feature: biased variance, eps 1e-5."""
    mean = sum(rows) / len(rows)
    variance = sum((row - mean) ** 2 for row in rows) / len(rows)
    return [(row - mean) / torch.sqrt(variance + 1e-5) * weight + bias for row in rows]


def project(rows: list[Tensor], p: dict[str, Tensor], head: str) -> list[Tensor]:
    hidden = [p[f"{head}.hidden.weight"] @ row for row in rows]
    hidden = batch_norm(hidden, p[f"{head}.norm.weight"], p[f"{head}.norm.bias"])
    return [p[f"{head}.out.weight"] @ torch.clamp(row, min=0) for row in hidden]


def alignment(heat: list[Tensor]) -> list[list[Tensor]]:
    """W[m][p] of one image from M[p][m]: unit length over the channels, then softmax over the positions."""
    unit = [list(norm(row)) for row in heat]
    maps = []
    for m in range(len(unit[0])):
        total = sum(torch.exp(unit[p][m]) for p in range(len(unit)))
        maps.append([torch.exp(unit[p][m]) / total for p in range(len(unit))])
    return maps


def aligned(tokens: list[list[Tensor]], maps: list[list[Tensor]]) -> list[Tensor]:
    """y[k] of one image, eq. 6: channel block r is pooled by map r * n + k."""
    channels, n = len(tokens[0]), len(maps) // GROUPS
    result = []
    for k in range(n):
        y = []
        for c in range(channels):
            r = c // (channels // GROUPS)
            y.append(sum(maps[r * n + k][p] * tokens[p][c] for p in range(len(tokens))))
        result.append(torch.stack(y))
    return result


def branch(images: Tensor, p: dict[str, Tensor], backbone: torch.nn.Module) -> tuple[list[Tensor], list[list[Tensor]]]:
    """z[i] and u[i][k] of images that share their BN statistics."""
    weights = {name.removeprefix("encoder.backbone."): t for name, t in p.items() if name.startswith("encoder")}
    features = torch.func.functional_call(backbone.train(), weights, (images,))
    rows: list[Tensor] = []
    for image in features:  # g runs on the pooled vector and on every position, in one batch of rows
        positions = [image[:, i, j] for i in range(image.shape[1]) for j in range(image.shape[2])]
        rows += [sum(positions) / len(positions), *positions]
    per_image = len(rows) // len(images)
    projected = project(rows, p, "projectors.global")
    z, pooled = [], []
    for i in range(len(images)):
        mine = slice(i * per_image, (i + 1) * per_image)
        z.append(projected[mine][0])
        tokens = [list(row) for row in rows[mine][1:]]
        pooled.append(aligned(tokens, alignment(projected[mine][1:])))
    n = len(pooled[0])
    u = project([y for image in pooled for y in image], p, "projectors.aligned")
    return z, [u[i * n : (i + 1) * n] for i in range(len(images))]


def grouped(images: Tensor, bn_groups: int, *args) -> tuple[list[Tensor], list[list[Tensor]]]:
    z, u = [], []
    for part in images.chunk(bn_groups):
        more_z, more_u = branch(part, *args)
        z, u = z + more_z, u + more_u
    return z, u


def contrast(a: Tensor, positive: Tensor, negatives: list[Tensor], tau: float) -> Tensor:
    """Eq. 4, as it stands."""
    top = torch.exp(norm(a) @ norm(positive) / tau)
    return -torch.log(top / (top + sum(torch.exp(norm(a) @ norm(n) / tau) for n in negatives)))


def loss_of(online, target, queue: Tensor, same_index: bool) -> tuple[Tensor, Tensor]:
    (z1, u1), (z2, u2) = online, target
    images, n = len(z1), len(u1[0])
    global_loss = sum(contrast(z1[i], z2[i], list(queue.T), TAU_QUEUE) for i in range(images)) / images
    aligned_loss = torch.zeros((), dtype=torch.float64)
    for i in range(images):
        for k in range(n):
            others = []
            for j in range(images):
                for index in range(n):
                    if j != i and (index == k or not same_index):
                        others.append(u2[j][index])
            aligned_loss = aligned_loss + contrast(u1[i][k], u2[i][k], others, TAU_BATCH)
    return global_loss, aligned_loss / (images * n)


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone().requires_grad_() for name, t in module.named_parameters()}


class Watch:
    """Which image each call of the target's encoder sees where."""

    def __init__(self, method):
        self.seen: list[Tensor] = []
        method.target.branch.encoder.register_forward_pre_hook(lambda _, inputs: self.seen.append(inputs[0].clone()))

    def order(self, images: Tensor) -> list[int]:
        (seen,) = self.seen
        self.seen.clear()
        found = [[j for j in range(len(images)) if torch.equal(row, images[j])] for row in seen]
        return [j for (j,) in found]  # every image once


@pytest.mark.parametrize("same_index", [False, True], ids=["every index", "same index"])
@pytest.mark.parametrize("bn_groups", [None, 2], ids=["one BN group", "two BN groups"])
def test_brute_force(recipes, same_index: bool, bn_groups: int | None) -> None:
    torch.manual_seed(3)
    in_batch = terms.InBatch(TAU_BATCH, same_index=same_index)
    maps = terms.Coupled(groups=GROUPS)
    spec = recipes.lewel_m(beta=BETA, in_batch=in_batch, maps=maps, bn_groups=bn_groups)
    method = build.method(spec).double().train()
    for parameter in method.online.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)  # so that the target differs, and BN is not at 1 and 0
    method.objectives["global"].queue.div_(method.objectives["global"].queue.norm(dim=0))  # unit in float64 too
    backbone = timm.create_model(spec.method.encoder.name, num_classes=0, global_pool="").double()
    watch, optimizer = Watch(method), torch.optim.SGD(method.online.parameters(), lr=0.05)
    keys_before: list[Tensor] = []

    for step in range(2):
        views = torch.randn(2, 4, 3, 64, 64, dtype=torch.float64)
        xi_before, theta = state_of(method.target.branch), state_of(method.online)
        queue = method.objectives["global"].queue.clone()
        for place, key in enumerate(keys_before):  # the keys of the step before stand in the queue, oldest first
            torch.testing.assert_close(queue[:, place], norm(key), rtol=0, atol=1e-12)

        method.before_step(step, 2)
        loss, out = method(*views)
        optimizer.zero_grad()
        loss.backward()

        order = watch.order(views[1])
        assert sorted(order) == [0, 1, 2, 3]
        xi = {name: 0.9 * xi_before[name].detach() + 0.1 * theta[name].detach() for name in xi_before}
        with torch.no_grad():
            shuffled_z, shuffled_u = grouped(views[1][order], bn_groups or 1, xi, backbone)
        z2 = [shuffled_z[order.index(i)] for i in range(4)]
        u2 = [shuffled_u[order.index(i)] for i in range(4)]
        global_loss, aligned_loss = loss_of(
            grouped(views[0], bn_groups or 1, theta, backbone), (z2, u2), queue, same_index
        )
        expected = (1 - BETA) * global_loss + BETA * aligned_loss
        expected.backward()

        assert math.isclose(loss.item(), expected.item(), rel_tol=1e-11)
        assert math.isclose(out["loss/global"].item(), global_loss.item(), rel_tol=1e-11)
        assert math.isclose(out["loss/aligned"].item(), aligned_loss.item(), rel_tol=1e-11)
        for name, parameter in method.online.named_parameters():
            reference = theta[name].grad
            assert reference.abs().max() > 0, name
            difference = (parameter.grad - reference).norm() / reference.norm()
            assert difference < 1e-8, f"{name}: {difference}"
        keys_before = z2
        optimizer.step()
        method.after_step(out)
