from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.detect import Severity
from rlhf_assert.detect.budget import Budget, level_threshold
from rlhf_assert.detect.detectors.level_shift import LevelShift
from rlhf_assert.detect.level import LONG, WINDOW, Level
from rlhf_assert.errors import UsageError


def noise(count: int, seed: int = 0, level: float = 0.0) -> list[float]:
    source = random.Random(seed)
    return [level + source.gauss(0.0, 1.0) for _ in range(count)]


def shifts(values: list[float], window: int = WINDOW) -> list[tuple[int, int]]:
    level, budget = Level(window), Budget()
    return [(row, found) for row, value in enumerate(values) if (found := level.update(value, budget))]


@given(
    seed=st.integers(0, 1000), place=st.integers(30, 80), sign=st.sampled_from([-1, 1]), window=st.sampled_from([8, 16])
)
def test_a_lasting_shift_is_found_once_and_dated(seed: int, place: int, sign: int, window: int) -> None:
    values = noise(place, seed) + noise(28, seed + 1, level=12.0 * sign)

    ((row, direction),) = shifts(values, window)

    assert direction == sign
    assert place + window // 4 <= row <= place + window


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_scale_does_not_matter(seed: int, scale: float) -> None:
    values = noise(40, seed) + noise(20, seed + 1, level=8.0)

    assert shifts([scale * value for value in values]) == shifts(values)


def test_four_rows_are_no_shift() -> None:
    assert shifts([*noise(40), 50.0, 50.0, 50.0, 50.0, *noise(30, 1)]) == []


def test_nothing_is_judged_before_ten_rows_of_past_and_a_window() -> None:
    assert shifts([*noise(9), *[50.0] * 8]) == []
    assert shifts([*noise(9), *[50.0] * 15], LONG) == []


def test_a_past_without_spread_is_not_judged() -> None:
    assert shifts([0.0] * 40 + [1.0] * 8) == []


def test_a_smaller_rate_gives_a_higher_threshold() -> None:
    assert level_threshold(0.05) < level_threshold(0.005) < level_threshold(0.0005)
    assert level_threshold(0.05, LONG) < level_threshold(0.05, WINDOW)


def test_the_budget_is_split_over_the_checks_that_have_data() -> None:
    budget = Budget(0.06, 0.006)
    assert budget.rate() == 0.06
    for check in ("a", "b", "a"):
        budget.claim(check)
    assert budget.rate() == 0.03


@pytest.mark.parametrize("rates", [(0.0, 0.0), (1.0, 0.5), (0.01, 0.05)])
def test_rates_that_cannot_be_right(rates: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="false-alarm rate"):
        Budget(*rates)


def test_shifts_of_other_metrics_are_notes_in_the_direction_that_matters(find: Any) -> None:
    up = [{"kl_div": value, "explained_variance": value} for value in [*noise(40, level=20), *noise(12, 1, level=40)]]

    (found,) = find(LevelShift(), up)

    assert (found.kind, found.metric, found.severity) == ("level-shift", "kl_div", Severity.info)
    assert found.onset == 41
