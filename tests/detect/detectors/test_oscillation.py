"""Swings that grow."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.oscillation import Oscillation

Rows = list[dict[str, float | None]]


def series(shape: Callable[[int], float], count: int = 240, metric: str = "kl_div", seed: int = 0) -> Rows:
    noise = random.Random(seed)
    return [{metric: shape(row) + 0.02 * noise.gauss(0.0, 1.0), "reward_std": 0.2} for row in range(count)]


def swing(size: float, period: float, begin: int = 100, level: float = 1.0) -> Callable[[int], float]:
    return lambda row: level + size * min(1.0, max(0.0, (row - begin) / 60)) * math.sin(2.0 * math.pi * row / period)


@pytest.mark.parametrize("period", [2.3, 5.0, 7.5, 15.0])
@pytest.mark.parametrize("metric", ["reward", "kl_div", "entropy", "loss"])
def test_a_growing_swing_is_found_with_its_period(find: Any, period: float, metric: str) -> None:
    found = find(Oscillation(), series(swing(0.1, period), metric=metric))

    assert [(anomaly.kind, anomaly.metric, anomaly.severity) for anomaly in found] == [
        ("oscillation", metric, Severity.info)
    ]
    assert float(found[0].evidence["period"]) == pytest.approx(period, rel=0.15)
    assert 50 <= found[0].onset <= 160


def test_a_swing_through_half_of_the_level_is_a_warning(find: Any) -> None:
    assert find(Oscillation(), series(swing(0.6, 10.0)))[-1].severity is Severity.warning


@pytest.mark.parametrize(
    "shape",
    [
        swing(0.5, 12.0, begin=-100),  # there from the start
        swing(0.5, 40.0),  # too slow to be told from a curve
        lambda row: 1.0 + 0.01 * row,
        lambda row: math.exp(0.02 * row),
        lambda row: 1.0 + (row >= 150),
        lambda row: 1.0 + 5.0 * (row == 150),
        lambda row: 1.0 + 5.0 * (row in {140, 163}),
        lambda row: 0.5 * (1.0 + math.cos(math.pi * row / 240)),
        lambda row: 1.0 / (1.0 + math.exp(-(row - 150) / 5.0)),
    ],
)
def test_what_is_no_growing_swing(find: Any, shape: Callable[[int], float]) -> None:
    assert find(Oscillation(), series(shape)) == []


@pytest.mark.parametrize("value", [0.1, 1.0 / 3.0, 1e300, 0.0])
def test_a_constant_and_its_rounding_do_not_swing(find: Any, value: float) -> None:
    noise = random.Random(0)
    rounded: Rows = [{"kl_div": value * (1.0 + 1e-7 * (row > 100) * noise.choice([-1, 1]))} for row in range(240)]

    assert find(Oscillation(), [{"kl_div": value}] * 240) == []
    assert find(Oscillation(), rounded) == []


def test_the_loss_is_watched_only_without_a_reward(find: Any) -> None:
    rows = [{**row, "reward": 0.5} for row in series(swing(0.6, 10.0), metric="loss")]

    assert find(Oscillation(), rows) == []
