"""Maps and pooling as identities: every kind is the aggregation that its name promises."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lewel import build
from lewel.errors import UserError
from lewel.model import maps
from lewel.model.head import MLP
from lewel.shapes import Features

B, C, H, W = 3, 12, 4, 6


@pytest.fixture
def features() -> Features:
    torch.manual_seed(0)
    return Features(torch.randn(B, H * W, C, dtype=torch.float64), (H, W))


def feature_map(features: Features) -> torch.Tensor:
    return features.tokens.transpose(1, 2).unflatten(2, features.size)


def test_uniform_is_the_mean(features: Features) -> None:
    pooled = maps.aggregate(features.tokens, maps.Uniform()(features))
    torch.testing.assert_close(pooled[:, 0], feature_map(features).mean(dim=(2, 3)))


def test_pixel_is_the_features(features: Features) -> None:
    assert torch.equal(maps.aggregate(features.tokens, maps.Pixel()(features)), features.tokens)


@pytest.mark.parametrize("size", [1, 2])
def test_grid_is_adaptive_pooling_where_it_divides(features: Features, size: int) -> None:
    pooled = maps.aggregate(features.tokens, maps.Grid(size)(features))
    expected = functional.adaptive_avg_pool2d(feature_map(features), size).flatten(2).transpose(1, 2)
    torch.testing.assert_close(pooled, expected)


def test_grid_gives_every_position_to_one_cell_where_it_does_not_divide(features: Features) -> None:
    owners = (maps.Grid(3)(features)[0] > 0).sum(dim=0)
    assert owners.tolist() == [1] * (H * W)


def test_grid_finer_than_the_map(features: Features) -> None:
    with pytest.raises(UserError, match=r"5 x 5 cells .* 4 x 6"):
        maps.Grid(5)(features)


def every_kind() -> dict[str, torch.nn.Module]:
    head = MLP(C, (8,), 6).double()
    return {
        "uniform": maps.Uniform(),
        "pixel": maps.Pixel(),
        "grid": maps.Grid(3),
        "random": maps.Random(6, 0.5),
        "learned": maps.Learned(head, 0.5),
        "coupled": maps.Coupled(0.5),
    }


@pytest.mark.parametrize("kind", ["uniform", "pixel", "grid", "random", "learned", "coupled"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_maps_are_distributions_over_positions(features: Features, kind: str, dtype: torch.dtype) -> None:
    heat = (torch.randn(B, H * W, 6).to(dtype),) if kind == "coupled" else ()
    made = every_kind()[kind].to(dtype)(features._replace(tokens=features.tokens.to(dtype)), *heat)
    assert made.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert made.shape[0] == B and made.shape[2] == H * W
    assert (made >= 0).all()
    torch.testing.assert_close(made.sum(dim=2), torch.ones_like(made[:, :, 0]))


def test_heat_maps_are_normalised_over_channels_then_positions() -> None:
    """Two positions, two maps, by hand: cosines (0.6, 0.8) and (1, 0), softmax over the positions."""
    heat = torch.tensor([[[3.0, 4.0], [5.0, 0.0]]], dtype=torch.float64)
    first, second = maps.alignment_maps(heat, temperature=0.5)[0].tolist()
    e = torch.tensor([1.2, 2.0], dtype=torch.float64).exp()
    assert first == pytest.approx((e / e.sum()).tolist())
    e = torch.tensor([1.6, 0.0], dtype=torch.float64).exp()
    assert second == pytest.approx((e / e.sum()).tolist())


def test_maps_do_not_feel_the_length_of_the_heat() -> None:
    heat = torch.randn(2, 5, 6, dtype=torch.float64)
    scale = torch.rand(2, 5, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(maps.alignment_maps(heat), maps.alignment_maps(heat * scale))


def test_random_maps_are_drawn_anew(features: Features) -> None:
    random = maps.Random(6, 1.0)
    assert not torch.equal(random(features), random(features))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_are_the_index_formula(features: Features, groups: int) -> None:
    weights = torch.rand(B, 6, H * W, dtype=torch.float64)
    pooled = maps.aggregate(features.tokens, weights, groups)
    n = 6 // groups
    assert pooled.shape == (B, n, C)
    for b in range(B):
        for k in range(n):
            for c in range(C):
                m = n * (c * groups // C) + k
                expected = sum(weights[b, m, p] * features.tokens[b, p, c] for p in range(H * W))
                assert pooled[b, k, c].item() == pytest.approx(expected.item(), rel=1e-12)


def test_as_many_groups_as_maps_pool_one_vector(features: Features) -> None:
    weights = torch.rand(B, 6, H * W, dtype=torch.float64)
    pooled = maps.aggregate(features.tokens, weights, 6)
    blocks = [weights[:, m, None] @ features.tokens[:, :, 2 * m : 2 * m + 2] for m in range(6)]
    torch.testing.assert_close(pooled, torch.cat(blocks, dim=2))


def test_pooling_is_done_in_fp32_under_autocast(features: Features) -> None:
    tokens = features.tokens.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = maps.aggregate(tokens, maps.Uniform()(features._replace(tokens=tokens)))
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[:, 0], tokens.float().mean(dim=1))


def test_the_coupled_projector_runs_once_a_view(recipes) -> None:
    """On the pooled vector and all 4 positions of each image; the aligned one on n = 8 / 2 vectors."""
    method = build.method(recipes.lewel_b()).train()
    calls: list[tuple[str, tuple[int, ...]]] = []
    for name in ("global", "aligned"):
        method.online.projectors[name].register_forward_pre_hook(
            lambda _, inputs, name=name: calls.append((name, tuple(inputs[0].shape)))
        )
    embeddings = method.online(torch.randn(3, 3, 64, 64))
    assert calls == [("global", (3, 5, 96)), ("aligned", (3, 4, 96))]
    assert embeddings.embeddings["global"].shape == (3, 1, 8)
    assert embeddings.maps["aligned"].shape == (3, 8, 4)


def test_coupled_maps_come_from_the_projector_at_each_position(recipes) -> None:
    branch = build.method(recipes.lewel_b()).double().eval().online
    features = branch.encode(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    heat = torch.stack([branch.projectors["global"](features.tokens[:, p, None])[:, 0] for p in range(4)], dim=1)
    torch.testing.assert_close(branch.embed(features).maps["aligned"], maps.alignment_maps(heat))
