"""The trainer's distance from its rollout engine."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.rollout_mismatch import RolloutMismatch

Rows = list[dict[str, float | None]]


def rows(values: list[float], rewards: list[float] | None = None) -> Rows:
    return [
        {"rollout_kl": value, "reward": reward}
        for value, reward in zip(values, rewards or [0.1 * row for row in range(len(values))], strict=True)
    ]


def told(found: list[Any]) -> list[tuple[str, Severity, int]]:
    return [(anomaly.kind, anomaly.severity, anomaly.onset) for anomaly in found]


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_distance_from_the_start_is_a_mismatch(find: Any, sign: float) -> None:
    assert told(find(RolloutMismatch(), rows([0.15 * sign] * 30))) == [("rollout-mismatch", Severity.warning, 1)]


def test_a_distance_that_comes_with_the_first_update_is_stale_weights(find: Any) -> None:
    (found,) = find(RolloutMismatch(), rows([0.015] + [0.201] * 10))

    assert (found.kind, found.severity, found.onset) == ("rollout-stale", Severity.warning, 2)
    assert "old weights" in found.causes[0]
    assert told(find(RolloutMismatch(), rows([0.002] * 5 + [0.06] * 10))) == [("rollout-stale", Severity.warning, 6)]


def test_a_batch_that_no_longer_counts_is_critical_unless_the_reward_rises(find: Any) -> None:
    flat = [0.5] * 30

    assert told(find(RolloutMismatch(), rows([1.5] * 30, flat))) == [
        ("rollout-mismatch", Severity.warning, 1),
        ("rollout-mismatch", Severity.critical, 1),
    ]
    assert [severity for _, severity, _ in told(find(RolloutMismatch(), rows([1.5] * 30)))] == [Severity.warning]
    unrewarded: Rows = [{"rollout_kl": 1.5}] * 30
    assert [severity for _, severity, _ in told(find(RolloutMismatch(), unrewarded))] == [Severity.warning]


@pytest.mark.parametrize("level", [0.0005, 0.015, 0.03])
def test_numerics_are_quiet(find: Any, level: float) -> None:
    noise = random.Random(0)

    assert find(RolloutMismatch(), rows([level * noise.lognormvariate(0.0, 0.5) for _ in range(500)])) == []


def test_four_rows_of_eight_are_quiet(find: Any) -> None:
    assert find(RolloutMismatch(), rows(([0.01] * 4 + [0.5] * 4) * 20)) == []
