from __future__ import annotations

from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.entropy_collapse import Entropy


def rows(*parts: tuple[int, float, float], **more: float) -> list[dict[str, float]]:
    return [{"entropy": entropy, "reward": reward, **more} for count, entropy, reward in parts for _ in range(count)]


def test_a_sound_run_is_quiet(find: Any, sound: Any) -> None:
    assert find(Entropy(), sound) == []


def test_a_fall_with_rising_reward_is_healthy_above_a_tenth_and_a_warning_below(find: Any) -> None:
    assert find(Entropy(), rows((10, 0.35, 0.25), (30, 0.05, 0.98))) == []
    (found,) = find(Entropy(), rows((10, 0.35, 0.25), (30, 0.03, 0.98)))
    assert (found.kind, found.severity, found.onset) == ("entropy-collapse", Severity.warning, 11)


@pytest.mark.parametrize(
    ("late", "more"),
    [
        ((10, 0.0, 1.0), {}),  # deterministic
        ((10, 0.1, 0.2), {}),  # nothing learnt
        ((10, 0.1, 1.0), {"zero_std_fraction": 1.0}),  # nothing left to learn from
    ],
)
def test_a_collapse_is_critical_where_learning_is_over(
    find: Any, late: tuple[int, float, float], more: dict[str, float]
) -> None:
    (found,) = find(Entropy(), rows((10, 2.0, 0.2), late, **more))
    assert (found.kind, found.severity, found.onset) == ("entropy-collapse", Severity.critical, 11)


def test_a_warning_becomes_critical_with_the_same_onset(find: Any) -> None:
    found = find(Entropy(), rows((10, 2.0, 0.2), (10, 0.1, 0.9), (10, 0.1, 0.1)))
    assert [(each.severity, each.onset) for each in found] == [(Severity.warning, 11), (Severity.critical, 11)]


def test_an_explosion_is_critical_if_the_reward_falls(find: Any) -> None:
    (risen,) = find(Entropy(), rows((10, 0.15, 0.5), (10, 7.0, 0.6)))
    (fallen,) = find(Entropy(), rows((10, 0.15, 0.5), (10, 7.0, 0.0)))
    assert (risen.kind, risen.severity) == ("entropy-explosion", Severity.warning)
    assert (fallen.severity, fallen.onset) == (Severity.critical, 11)


def test_five_rows_are_needed_and_supervised_rows_are_passed_over(find: Any) -> None:
    assert find(Entropy(), rows((10, 2.0, 0.2), (4, 0.0, 0.0), (10, 2.0, 0.2), (4, 9.0, 0.0))) == []
    assert find(Entropy(), [{"entropy": 2.0 / (1 + step)} for step in range(60)]) == []
    assert find(Entropy(), rows((10, -2.0, 0.2), (20, -0.001, 0.0))) == []
