"""A reward that is lost slowly."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.reward_collapse import RewardCollapse
from rlhf_assert.detect.detectors.reward_drift import RewardDrift

Rows = list[dict[str, float | None]]


def falling(start: float, end: float, rows: int, noise: float = 0.05, seed: int = 0, flat: int = 0) -> Rows:
    source = random.Random(seed)
    levels = [start] * flat + [start + (end - start) * row / (rows - 1) for row in range(rows)]
    return [{"reward": level + noise * source.gauss(0.0, 1.0)} for level in levels]


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), length=st.sampled_from([104, 200, 1000]), scale=st.sampled_from([1e-3, 1.0, 1e5]))
def test_a_slow_fall_is_found_at_any_length_and_scale(seed: int, length: int, scale: float, find: Any) -> None:
    rows = [{"reward": scale * (row["reward"] or 0.0)} for row in falling(0.85, 0.5, length, seed=seed)]

    found = find(RewardDrift(), rows)

    assert [anomaly.severity for anomaly in found] == [Severity.warning]
    assert found[0].onset <= length // 2
    assert float(found[0].evidence["share_lost"]) >= 0.3


def test_what_a_level_shift_does_not_see(find: Any) -> None:
    rows = falling(0.85, 0.5, 1000)

    assert find(RewardCollapse(), rows) == []
    assert len(find(RewardDrift(), rows)) == 1


def test_a_fall_after_a_rise_is_dated_in_the_last_half(find: Any) -> None:
    found = find(RewardDrift(), [*falling(0.1, 0.9, 300), *falling(0.9, 0.2, 300, seed=1)])

    assert found
    assert 250 <= found[0].onset <= 450


def test_nearly_all_of_the_gain_is_critical(find: Any) -> None:
    found = find(RewardDrift(), falling(0.9, 0.01, 200))

    assert [anomaly.severity for anomaly in found] == [Severity.warning, Severity.critical]
    assert len({anomaly.onset for anomaly in found}) == 1


@pytest.mark.parametrize("rows", [40, 200, 1000])
def test_a_fall_within_the_noise_of_a_row_is_quiet(find: Any, rows: int) -> None:
    assert find(RewardDrift(), falling(0.5, 0.2, rows, noise=0.1)) == []


def test_a_small_share_of_the_gain_is_quiet(find: Any) -> None:
    assert find(RewardDrift(), falling(0.9, 0.7, 400, noise=0.02)) == []


def test_a_rise_a_constant_and_a_step_are_quiet(find: Any) -> None:
    assert find(RewardDrift(), falling(0.1, 0.9, 400)) == []
    assert find(RewardDrift(), [{"reward": 0.5}] * 400) == []
    step = [*falling(0.9, 0.9, 96), *falling(0.2, 0.2, 96, seed=1)]
    assert find(RewardDrift(), step) == [], "a level shift, for another detector"


def test_a_run_too_short_for_twelve_blocks_is_not_judged(find: Any) -> None:
    assert find(RewardDrift(), falling(0.9, 0.1, 95)) == []
    assert len(find(RewardDrift(), falling(0.9, 0.1, 96))) == 1


def test_a_threshold_of_ones_own(find: Any) -> None:
    rows = falling(0.85, 0.5, 200, noise=0.1)

    assert find(RewardDrift(), rows) == []
    assert len(find(RewardDrift(threshold=2.0), rows)) == 1


def test_merged_blocks_hold_the_moments_of_their_rows(find: Any) -> None:
    rows = falling(0.5, 0.5, 256, noise=1.0)
    detector = RewardDrift()
    find(detector, rows)
    rewards = [row["reward"] or 0.0 for row in rows]

    assert len(detector._blocks) == 16
    for place, block in enumerate(detector._blocks):
        part = rewards[16 * place : 16 * place + 16]
        mean = math.fsum(part) / 16
        assert block.mean == pytest.approx(mean)
        assert block.squares == pytest.approx(sum((value - mean) ** 2 for value in part))


@pytest.mark.parametrize(("level", "onsets"), [(0.17, 1), (0.4, 0)])
def test_a_fall_that_no_single_row_shows(find: Any, level: float, onsets: int) -> None:
    """Eight samples of 0 or 1 a row."""
    source = random.Random(0)
    chances = [0.5] * 100 + [level] * 100
    rows: Rows = [{"reward": sum(source.random() < chance for _ in range(8)) / 8} for chance in chances]

    found = find(RewardDrift(), rows)

    assert find(RewardCollapse(), rows) == []
    assert [anomaly.severity for anomaly in found] == [Severity.warning] * onsets
    assert all(97 <= anomaly.onset <= 105 for anomaly in found)
