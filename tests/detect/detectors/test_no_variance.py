from __future__ import annotations

from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.no_variance import NoVariance

DEAD = {"reward": 0.0, "reward_std": 0.0, "zero_std_fraction": 1.0}
ALIVE = {"reward": 0.5, "reward_std": 0.2, "zero_std_fraction": 0.25}


def severities(found: Any) -> list[tuple[str, Severity, int]]:
    return [(each.kind, each.severity, each.onset) for each in found]


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(NoVariance(), sound) == []


def test_nothing_to_learn_from_is_a_warning_then_critical(find: Any) -> None:
    assert find(NoVariance(), [DEAD] * 9) == []
    assert severities(find(NoVariance(), [DEAD] * 40)) == [
        ("no-learning-signal", Severity.warning, 1),
        ("no-learning-signal", Severity.critical, 1),
    ]


def test_without_any_gradient_it_is_critical_at_once(find: Any) -> None:
    found = find(NoVariance(), [{**DEAD, "grad_norm": 0.0}] * 40)
    assert severities(found) == [("no-learning-signal", Severity.critical, 1)]


@pytest.mark.parametrize(
    "row",
    [
        {"reward": 2.4, "reward_std": 2.5e-7, "zero_std_fraction": 0.0},  # saturated, with a spread of rounding
        {"reward": 1000.0, "reward_std": 5e-4},
        {"reward": 1.0, "zero_std_fraction": 1.0},
    ],
)
def test_spreads_of_rounding_count_as_none(find: Any, row: dict[str, float]) -> None:
    assert len(find(NoVariance(), [row] * 20)) == 2


def test_a_log_without_spread_is_judged_by_equality(find: Any) -> None:
    assert [each.onset for each in find(NoVariance(), [{"reward": 1.0}] * 20)] == [1, 1]
    assert find(NoVariance(), [{"reward": 1.0 + 1e-6 * step} for step in range(40)]) == []


def test_a_reward_that_saturates_later_is_another_finding(find: Any) -> None:
    (found,) = find(NoVariance(), [*[ALIVE] * 10, *[DEAD] * 40])
    assert (found.kind, found.severity, found.onset) == ("saturated", Severity.warning, 11)


def test_half_of_the_rows_without_variance_is_healthy(find: Any) -> None:
    assert find(NoVariance(), [ALIVE, DEAD, DEAD, DEAD] * 50) == []


def test_rows_without_rewards_are_passed_over(find: Any) -> None:
    assert find(NoVariance(), [{"loss": 1.0}] * 50) == []
    (found, _) = find(NoVariance(), [{"loss": 1.0}, DEAD] * 20)
    assert (found.onset, found.evidence["rows"]) == (2, 10)
