"""A reward that is earned by length."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.reward_follows_length import RewardFollowsLength

Rows = list[dict[str, float | None]]


def rows(slope: float, growth: float = 2.0, count: int = 120, seed: int = 0, cut: float = 0.0) -> Rows:
    """Lengths that grow from 100, and rewards that rise and, by `slope` per token, follow each batch's length."""
    noise = random.Random(seed)
    found: Rows = []
    for row in range(count):
        off = noise.gauss(0.0, 8.0)
        length = 100.0 * (1.0 + (growth - 1.0) * row / count) + off
        reward = 0.5 * row / count + slope * off + noise.gauss(0.0, 0.02)
        found.append({"reward": reward, "response_length": length, "truncated_fraction": cut * row / count})
    return found


def told(found: list[Any]) -> list[tuple[str, Severity]]:
    return [(anomaly.kind, anomaly.severity) for anomaly in found]


def test_a_reward_that_pays_for_length_is_a_note(find: Any) -> None:
    assert told(find(RewardFollowsLength(), rows(0.01))) == [("reward-follows-length", Severity.info)]


def test_texts_that_come_to_be_cut_off_make_it_a_warning(find: Any) -> None:
    assert told(find(RewardFollowsLength(), rows(0.01, cut=0.8)))[-1] == ("reward-follows-length", Severity.warning)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("slope", [0.0, -0.002])
def test_longer_and_better_answers_are_quiet(find: Any, seed: int, slope: float) -> None:
    """Both grow, but the batches with harder prompts have the longer texts and the lower rewards, or neither."""
    assert find(RewardFollowsLength(), rows(slope, growth=4.0, seed=seed, cut=0.8)) == []


def test_a_reward_of_length_whose_texts_do_not_grow_is_quiet(find: Any) -> None:
    assert find(RewardFollowsLength(), rows(0.01, growth=1.0)) == []


def test_shorter_texts_that_are_paid_for_are_quiet(find: Any) -> None:
    assert find(RewardFollowsLength(), rows(-0.01, growth=0.4)) == []


def test_ties_tell_nothing(find: Any) -> None:
    flat: Rows = [{"reward": 0.1 * (row // 20), "response_length": 100.0 * (1 + row // 20)} for row in range(200)]

    assert find(RewardFollowsLength(), flat) == []


def test_too_few_rows_are_not_judged(find: Any) -> None:
    assert find(RewardFollowsLength(), rows(0.01, count=22)) == []
    assert told(find(RewardFollowsLength(), rows(0.1, growth=4.0, count=40))) == [
        ("reward-follows-length", Severity.info)
    ]
