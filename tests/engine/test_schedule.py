"""The published rates."""

from __future__ import annotations

import pytest

from lewel.engine.schedule import steps, warmup_cosine

STEPS = 1251
PUBLISHED = warmup_cosine(3.6, 100, STEPS, warmup_epochs=10)


def test_first_and_last_rate_of_the_published_run() -> None:
    assert PUBLISHED(0) == pytest.approx(3.6 / 12510) == pytest.approx(2.8777e-4, rel=1e-4)
    assert PUBLISHED(100 * STEPS - 1) == pytest.approx(0.0010965, rel=1e-4)


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [(1, 0.360), (2, 0.720), (5, 1.80), (10, 3.60), (20, 3.512), (30, 3.218), (40, 2.754), (50, 2.174), (55, 1.863),
     (60, 1.549), (65, 1.244), (70, 0.955), (75, 0.692), (80, 0.462), (85, 0.274), (90, 0.131), (95, 0.039)],
)  # fmt: skip
def test_table_of_the_published_log(epoch: int, lr: float) -> None:
    assert PUBLISHED(epoch * STEPS - 1) == pytest.approx(lr, abs=5.1e-4)


def test_the_cosine_is_constant_within_an_epoch_or_moves_every_step() -> None:
    per_step = warmup_cosine(3.6, 100, STEPS, warmup_epochs=10, decay_per="step")
    at = 40 * STEPS
    assert PUBLISHED(at) == PUBLISHED(at + STEPS - 1) == per_step(at)
    assert per_step(at) > per_step(at + 1) > PUBLISHED(at + STEPS)


def test_without_warmup_it_starts_at_the_peak_and_ends_at_zero() -> None:
    schedule = warmup_cosine(0.03, 4, 5, decay_per="step")
    assert schedule(0) == 0.03
    assert schedule(10) == pytest.approx(0.015)
    assert schedule(20) == schedule(25) == 0.0


def test_steps_fall_to_a_tenth_at_each_milestone() -> None:
    rate = steps(0.4, (30, 40), steps_per_epoch=5)
    assert [rate(step) for step in (0, 149, 150, 199, 200, 249)] == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


def test_steps_fall_within_an_epoch_at_the_nearest_step() -> None:
    rate = steps(0.4, (0.6, 0.8), steps_per_epoch=4)
    assert [rate(step) for step in range(4)] == pytest.approx([0.4, 0.4, 0.04, 0.004])


def test_a_cosine_ends_at_its_last_rate() -> None:
    rate = warmup_cosine(2e-4, 100, 10, warmup_epochs=5, decay_per="step", last=1e-6)
    assert rate(0) == pytest.approx(2e-4 / 50)
    assert rate(50) == pytest.approx(2e-4)
    assert rate(525) == pytest.approx((2e-4 + 1e-6) / 2)  # half way
    assert rate(1000) == pytest.approx(1e-6)
