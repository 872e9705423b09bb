from __future__ import annotations

import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.reward_below_start import WorseThanStart
from rlhf_assert.detect.detectors.reward_collapse import RewardCollapse

Rows = list[dict[str, float | None]]


def rewards(levels: list[float], scale: float = 1.0, offset: float = 0.0, **others: float) -> Rows:
    source = random.Random(0)
    return [{"reward": scale * (level + 0.05 * source.gauss(0, 1)) + offset, **others} for level in levels]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1000.0, 0.0), (1.0, -5.0), (1e-3, 0.0)])
def test_a_reward_that_is_lost_for_good_is_critical_on_any_scale(find: Any, scale: float, offset: float) -> None:
    levels = [0.2 + 0.02 * row for row in range(40)] + [0.0] * 30

    found = find(RewardCollapse(), rewards(levels, scale, offset))

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert all(40 <= anomaly.onset <= 43 for anomaly in found)
    assert found[1].onset == found[0].onset


def test_a_loss_that_recovers_stays_a_warning(find: Any) -> None:
    found = find(RewardCollapse(), rewards([1.0] * 40 + [0.2] * 9 + [1.0] * 40))

    assert [anomaly.severity for anomaly in found] == [Severity.warning]


def test_a_partial_loss_needs_a_second_witness_to_be_critical(find: Any) -> None:
    levels = [1.0] * 40 + [0.5] * 30
    alone = rewards(levels, entropy=1.0)
    beside = [{**row, "entropy": 1.0 if index < 42 else 2.5} for index, row in enumerate(alone)]

    assert [anomaly.severity for anomaly in find(RewardCollapse(), alone)] == [Severity.warning]
    found = find(RewardCollapse(), beside)[-1]
    assert found.severity is Severity.critical
    assert "entropy" in str(found.evidence["corroboration"])


@pytest.mark.parametrize("levels", [[1.0] * 80, [0.02 * row for row in range(80)], [1.0] * 40 + [0.8] * 40])
def test_steady_rising_and_slightly_falling_rewards_are_quiet(find: Any, levels: list[float]) -> None:
    assert find(RewardCollapse(), rewards(levels)) == []


def test_a_threshold_goes_before_the_budget(find: Any) -> None:
    rows = rewards([1.0] * 40 + [0.2] * 20)

    assert find(RewardCollapse(threshold=100.0), rows) == []


def test_a_policy_that_moves_while_its_reward_falls_from_the_start(find: Any) -> None:
    rows = rewards([0.5] * 6 + [0.1] * 40)
    moving = [{**row, "entropy": max(1.0, 2.5 - 0.1 * index)} for index, row in enumerate(rows)]
    still = [{**row, "entropy": 2.5} for row in rows]
    better = [{**row, "reward": 1.0 - (row["reward"] or 0.0)} for row in moving]

    warned, found = find(WorseThanStart(), moving)
    assert (found.kind, found.severity) == ("reward-below-start", Severity.critical)
    assert (warned.severity, warned.onset) == (Severity.warning, found.onset)
    assert find(WorseThanStart(), still) == []
    assert find(WorseThanStart(), better) == []


def test_kl_is_a_witness_too(find: Any) -> None:
    rows = [{**row, "kl_div": 0.02 * index} for index, row in enumerate(rewards([0.5] * 6 + [0.25] * 40))]

    (found,) = find(WorseThanStart(), rows)

    assert found.severity is Severity.warning
    assert "kl" in str(found.evidence["corroboration"])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1000.0])
@pytest.mark.parametrize(("metric", "was", "now"), [("entropy", 0.2, 1.5), ("response_length", 230.0, 4.0)])
def test_a_reward_lost_at_once_is_seen_in_a_dozen_rows(
    find: Any, scale: float, metric: str, was: float, now: float
) -> None:
    lost = [0.85, 0.8, 0.9, 0.8] + [0.02] * 8
    rows: Rows = [{"reward": scale * value, metric: was if value > 0.5 else now} for value in lost]

    found = find(WorseThanStart(), rows)

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert {anomaly.onset for anomaly in found} == {5}
    assert metric in str(found[0].evidence["corroboration"])


@pytest.mark.parametrize(
    "values",
    [
        [0.85, 0.8, 0.9, 0.8] + [0.02] * 5 + [0.8] * 9,  # back before 6 rows
        [0.85, 0.0, 0.9, 0.8] + [0.02] * 14,  # a start that holds such a row itself
        [0.0, 0.0, 0.1] + [0.0] * 15,  # nothing to lose
        [-1.0, -2.0, -1.5] + [-2.5, -1.9] * 8,  # signed rewards that wander
    ],
)
def test_rewards_that_are_not_lost_at_once_are_quiet(find: Any, values: list[float]) -> None:
    rows: Rows = [{"reward": value, "entropy": 0.2 if row < 4 else 1.5} for row, value in enumerate(values)]

    assert find(WorseThanStart(), rows) == []


def test_a_clear_loss_is_critical_after_8_rows(find: Any) -> None:
    found = find(RewardCollapse(), rewards([1.0] * 12 + [0.0] * 9))

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert {anomaly.onset for anomaly in found} == {13}


def test_a_policy_that_moves_without_a_gain_is_a_note(find: Any) -> None:
    moving = rewards([0.5] * 5 + [0.45] * 55)
    for row, metrics in enumerate(moving):
        metrics.update(entropy=2.0 * 0.97**row, reward_std=0.2)

    (found,) = find(WorseThanStart(), moving)

    assert (found.kind, found.severity) == ("reward-not-gained", Severity.info)
    assert find(WorseThanStart(), [{**row, "entropy": 2.0} for row in moving]) == [], "it stays where it was"
    assert find(WorseThanStart(), [{**row, "reward": 0.02 * at} for at, row in enumerate(moving)]) == [], "it gains"
    assert find(WorseThanStart(), [{**row, "reward": 1.0, "reward_std": 0.0} for row in moving]) == [], "it is solved"
