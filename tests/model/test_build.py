"""From a recipe to modules: what is built, and which recipes are refused with one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lewel import build, config, terms
from lewel.errors import UserError
from lewel.model.batchnorm import GroupBatchNorm


def refused(recipe: config.Recipe) -> str:
    with pytest.raises(UserError) as caught:
        build.method(recipe)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_position_is_refused(recipes) -> None:
    line = refused(recipes.lewel_b(image_size=32))
    assert "--image-size 32" in line and "one position" in line and "--stem small" in line


@pytest.mark.parametrize(("groups", "line"), [(5, "96 channels"), (3, "8 maps")])
def test_groups_that_do_not_divide_are_refused(recipes, groups: int, line: str) -> None:
    message = refused(recipes.lewel_b(maps=terms.Coupled(groups=groups)))
    assert f"--groups {groups}" in message and line in message


@pytest.mark.parametrize(
    "maps",
    [
        terms.Uniform(groups=2),
        terms.Grid(groups=3, size=2),
        terms.Random(groups=4, dim=6),
        terms.Learned(groups=4, head=terms.MLP(6, (16,))),
        terms.Pixel(groups=3),
    ],
    ids=lambda maps: type(maps).__name__,
)
def test_groups_that_do_not_divide_the_maps_of_any_kind(recipes, maps: terms.Maps) -> None:
    assert "--groups" in refused(recipes.lewel_b(maps=maps))


def test_a_grid_finer_than_the_map_is_refused_before_the_first_step(recipes) -> None:
    assert "a grid of 9 x 9 cells is finer" in refused(recipes.lewel_b(maps=terms.Grid(size=9)))


def test_encoders_are_refused(recipes) -> None:
    assert "resnet51" in refused(recipes.byol(encoder=config.Encoder("resnet51")))
    assert "a CNN" in refused(recipes.byol(encoder=config.Encoder("vit_tiny_patch16_224"), image_size=224))


@pytest.mark.parametrize(
    ("maps", "aligned"),
    [
        (terms.Uniform(), 1),
        (terms.Pixel(), 4),
        (terms.Pixel(groups=2), 2),
        (terms.Grid(size=2), 4),
        (terms.Random(groups=2, dim=6), 3),
        (terms.Learned(groups=3, head=terms.MLP(12, (16,))), 4),
        (terms.Coupled(groups=4), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_map_trains(recipes, maps: terms.Maps, aligned: int) -> None:
    method = build.method(recipes.lewel_m(maps=maps)).train()
    loss, out = method(*torch.randn(2, 4, 3, 64, 64))
    loss.backward()
    assert out["embeddings"]["aligned"].shape == (4, aligned, 8)
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert loss.isfinite()


def test_a_shared_projector_is_one_module(recipes) -> None:
    """Table 6, no extra head: the aligned term projects with the global term's own."""
    spec = recipes.lewel_b()
    first, second = spec.method.terms
    parts = (first, replace(second, projector="global"))
    method = build.method(replace(spec, method=replace(spec.method, terms=parts)))
    assert list(method.online.projectors) == ["global"]
    loss, out = method.train()(*torch.randn(2, 4, 3, 64, 64))
    loss.backward()
    assert out["embeddings"]["aligned"].shape == (4, 4, 8)


def test_rows_of_the_table(recipes) -> None:
    """A method is a row: the terms, the predictors, the directions."""
    table = {
        "moco": (["global"], [], False),
        "byol": (["global"], ["global"], True),
        "lewel_m": (["global", "aligned"], [], False),
        "lewel_b": (["global", "aligned"], ["global", "aligned"], True),
    }
    for name, (parts, predictors, both) in table.items():
        method = build.method(getattr(recipes, name)())
        assert (list(method.weights), list(method.predictors), len(method.directions) == 2) == (parts, predictors, both)


def test_groups_of_statistics_reach_every_batch_norm(recipes) -> None:
    method = build.method(recipes.lewel_b(bn_groups=2))
    kinds = {type(module) for module in method.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)}
    assert kinds == {GroupBatchNorm}


def test_the_target_starts_as_the_online_branch(recipes) -> None:
    method = build.method(recipes.lewel_m())
    online, target = method.online.state_dict(), method.target.branch.state_dict()
    assert list(online) == list(target) and all(torch.equal(online[name], target[name]) for name in online)
    assert not {id(p) for p in method.online.parameters()} & {id(p) for p in method.target.branch.parameters()}


def test_any_cnn_trains(recipes) -> None:
    for name in ("test_efficientnet", "test_convnext", "test_byobnet"):
        method = build.method(recipes.lewel_b(encoder=config.Encoder(name))).train()
        method(*torch.randn(2, 4, 3, 64, 64))[0].backward()
        assert all(p.grad is not None for p in method.parameters() if p.requires_grad), name
