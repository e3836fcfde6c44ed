"""The health numbers at their extremes, and the verdict on histories of each kind."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lewel.engine import health
from lewel.engine.health import Health, verdict


def test_spread_is_one_on_the_sphere_and_zero_at_a_point() -> None:
    torch.manual_seed(0)
    assert health.spread(torch.randn(4096, 2, 64)).item() == pytest.approx(1.0, abs=0.01)
    assert health.spread(torch.randn(1, 2, 64).expand(32, 2, 64)).item() == pytest.approx(0.0, abs=1e-6)
    by_hand = torch.tensor([[[3.0, 0.0]], [[0.0, 5.0]]])  # unit vectors (1, 0) and (0, 1): std 1/2 each, times sqrt 2
    assert health.spread(by_hand).item() == pytest.approx(math.sqrt(2) / 2)


def test_entropy_of_uniform_half_and_one_hot_maps() -> None:
    def maps(weights: list[float]) -> torch.Tensor:
        return torch.tensor(weights).view(1, 1, 2, 2)

    assert health.entropy(maps([0.25] * 4)).item() == pytest.approx(1.0)
    assert health.entropy(maps([0.5, 0.5, 0, 0])).item() == pytest.approx(0.5)
    assert health.entropy(maps([1.0, 0, 0, 0])).item() == 0.0


def test_only_maps_that_follow_the_image_differ() -> None:
    torch.manual_seed(0)
    own = torch.randn(16, 2, 3, 3).flatten(2).softmax(-1)  # its own map in each image
    fixed = torch.randn(1, 1, 9).softmax(-1).expand(16, 1, 9)  # one pattern for all
    uniform = torch.full((16, 1, 9), 1 / 9)
    maps = torch.cat([own, fixed, uniform], 1).unflatten(2, (3, 3))
    assert health.differ(maps).item() == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_rankme_counts_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(max(shape), min(shape)))
    orthogonal = q if shape[0] > shape[1] else q.t()
    assert health.rankme(orthogonal).item() == pytest.approx(12, rel=1e-4)
    assert health.rankme(torch.ones(shape)).item() == pytest.approx(1, rel=1e-3)
    x = torch.randn(shape)
    values = torch.linalg.svdvals(x.double())
    p = values / values.sum()
    assert health.rankme(x).item() == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-5)


def test_measuring_uses_a_window_of_the_last_images() -> None:
    torch.manual_seed(0)
    watch = Health(window=8)
    for _ in range(5):
        watch.observe({"pooled": torch.randn(3, 16)})
    line = torch.randn(1, 16)
    for _ in range(3):
        watch.observe({"pooled": line.expand(3, 16)})

    class Module(nn.Module):
        def diagnostics(self) -> dict[str, float]:
            return {"target_distance": 0.5}

    out = {
        "loss/global": torch.tensor(2.0),
        "embeddings": {"global": torch.randn(6, 1, 4)},
        "maps": {"aligned": torch.full((6, 2, 2, 2), 0.25)},
        "keys": object(),
    }
    found = watch.measure(out, Module())
    assert set(found) == {
        "loss/global", "spread/global", "entropy/aligned", "differ/aligned", "rankme", "rankme_limit", "target_distance"
    }  # fmt: skip
    assert found["rankme"] == pytest.approx(1.0, rel=1e-3) and found["target_distance"] == 0.5
    assert Health().measure({}, nn.Identity()) == {}


@pytest.mark.parametrize("stopped_after", range(8))
def test_what_goes_on_from_a_state_measures_the_same(stopped_after: int) -> None:
    batches = torch.randn(8, 3, 16, generator=torch.Generator().manual_seed(0))
    whole, first, second = Health(window=8), Health(window=8), Health(window=8)
    assert first.state() == {}
    for number, pooled in enumerate(batches):
        if number == stopped_after:
            state = {name: tensor.clone() for name, tensor in first.state().items()}
            second.load_state(state, torch.device("cpu"))
        for watch in (whole, second if number >= stopped_after else first):
            watch.observe({"pooled": pooled})
            watch.rejected += number % 2
    assert second.measure({}, nn.Identity()) == whole.measure({}, nn.Identity())
    assert second.rejected == whole.rejected == 4


def rows(count: int, **values: float) -> list[dict[str, float]]:
    return [{"step": 50 * i, "loss": 1.0, "gradient_norm": 1.0, **values} for i in range(1, count + 1)]


def test_verdict_of_a_healthy_run() -> None:
    history = rows(6, **{"spread/global": 0.9, "spread/aligned": 0.4, "rankme": 80.0, "target_distance": 0.1})
    assert verdict(history) == ("healthy", "")
    assert verdict(history[:2]).word == "warming up"
    assert verdict(history, warmup_steps=300).word == "warming up"
    assert verdict([]).word == "warming up"
    assert verdict(rows(6)).word == "healthy"  # a module that has no embeddings to show


def test_verdict_of_a_collapse_needs_it_to_last() -> None:
    healthy, low = rows(6, **{"spread/aligned": 0.9}), rows(3, **{"spread/aligned": 0.02})
    assert verdict(healthy + low[:2]).word == "healthy"  # LEWEL_B's dip
    word, reason = verdict(healthy + low)
    assert word == "collapsing" and "aligned embeddings are nearly the same" in reason
    early = verdict(low, warmup_steps=1000)
    assert early.word == "warming up" and "usual" in early.reason


def test_verdict_of_lost_dimensions() -> None:
    word, reason = verdict(rows(5, rankme=90.0) + rows(3, rankme=1.5))
    assert word == "collapsing" and "1.5 dimensions" in reason


def test_verdict_of_a_rank_that_is_low_from_the_start() -> None:
    low = rows(4, rankme=14.0, rankme_limit=512.0)
    word, reason = verdict(low)
    assert word == "low rank" and "14 of 512 dimensions" in reason
    assert verdict(rows(4, rankme=60.0, rankme_limit=512.0)).word == "healthy"
    assert verdict(low, warmup_steps=1000).word == "warming up"
    assert verdict(low[:3] + rows(1, rankme=60.0, rankme_limit=512.0)).word == "healthy"


@pytest.mark.parametrize(
    ("last", "bn_images", "cause"),
    [
        ({"gradient_norm": 50.0}, None, "--lr"),
        ({}, 4, "statistics over 4 images"),
        ({"target_distance": 1e-5}, 128, "--momentum"),
        ({}, 128, "--lr"),
    ],
)
def test_the_likely_cause(last: dict[str, float], bn_images: int | None, cause: str) -> None:
    history = rows(8, **{"spread/global": 0.01, "target_distance": 0.2})
    history[-1] |= last
    assert cause in verdict(history, bn_images=bn_images).reason


def test_verdict_of_nan_as_number_or_as_the_record_s_null() -> None:
    for bad in (math.nan, math.inf, None):
        history = rows(5)
        history[-1]["loss"] = bad  # type: ignore[assignment]
        assert verdict(history).word == "collapsing" and "not finite" in verdict(history).reason
